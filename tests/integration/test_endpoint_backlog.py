"""What an endpoint's owner learns about its open operations."""

import asyncio

from tests.integration.operation_calls import start
from tests.integration.operation_gateway import Client, RunningGateway, Worker
from tests.integration.sealed_messages import CALLER, ENDPOINT, HANDLER, outcome, request_header, sealed

from isthmus.v1 import endpoint_service_pb2 as pb
from isthmus.v1 import operation_pb2


async def shown(client: Client, *, include_backlog: bool = True) -> pb.GetEndpointResponse:
    """Return the endpoint as a namespace sees it."""
    request = pb.GetEndpointRequest(name=ENDPOINT, include_backlog=include_backlog)
    return await client.endpoints.GetEndpoint(request, metadata=client.metadata)


async def test_backlog_counts_causes_when_operations_wait_for_different_things(
    operation_gateway: RunningGateway,
) -> None:
    """One runs, two wait for a slot, one has ended; the oldest is shown with who runs it."""
    caller, owner = operation_gateway.client(CALLER), operation_gateway.client(HANDLER)
    ids = []
    for _ in range(4):
        header = request_header()
        ids.append(header.operation_id)
        await start(caller, sealed(header))
        operation_gateway.advance(milliseconds=1)
    before = (await shown(owner)).backlog
    assert [(count.cause, count.operations) for count in before.waiting] == [
        (operation_pb2.WAITING_CAUSE_NO_POLLER, 4)
    ]
    worker = await Worker(owner).hello(grant=2)
    first, second = await worker.tasks.get(), await worker.tasks.get()
    await worker.answer(outcome(second))
    backlog = (await shown(owner)).backlog
    assert backlog.operations == 3
    assert {count.cause: count.operations for count in backlog.waiting} == {
        operation_pb2.WAITING_CAUSE_FAIR_SHARE: 2,
        operation_pb2.WAITING_CAUSE_RUNNING: 1,
    }
    assert (backlog.oldest.operation_id, backlog.oldest.worker) == (first.operation_id, "worker-1")
    assert ids[0] == first.operation_id


async def test_backlog_is_absent_when_it_is_not_for_the_asker(operation_gateway: RunningGateway) -> None:
    """Callers do not see each other; whoever does not ask does not pay."""
    caller, owner = operation_gateway.client(CALLER), operation_gateway.client(HANDLER)
    await start(caller, sealed(request_header()))
    assert not (await shown(caller)).HasField("backlog")
    assert not (await shown(owner, include_backlog=False)).HasField("backlog")
    assert (await shown(owner)).backlog.operations == 1


async def test_count_stops_at_a_thousand_when_more_wait(operation_gateway: RunningGateway) -> None:
    """However long the backlog is, saying so takes bounded time."""
    caller, owner = operation_gateway.client(CALLER), operation_gateway.client(HANDLER)
    await asyncio.gather(*(start(caller, sealed(request_header())) for _ in range(1002)))
    backlog = (await shown(owner)).backlog
    assert backlog.operations == 1000
    assert [count.operations for count in backlog.waiting] == [1000]
