"""Many starts in one call, over the wire and through the clients."""

import asyncio

import grpc
import grpc.aio
import pytest
from tests.integration.operation_calls import described, reason_in, refusal, start, start_request
from tests.integration.operation_gateway import Client, RunningGateway
from tests.integration.reports import Reports, ReportsHandler
from tests.integration.sealed_messages import CALLER, cancel_of, request, request_header, sealed

from isthmus.client import OperationHandle, Start, SyncClient
from isthmus.gateway.api import batched_starts
from isthmus.testing import LocalGateway
from isthmus.v1 import operation_service_pb2 as pb


async def start_all(client: Client, *starts: pb.StartOperationRequest) -> list[pb.StartAnswer]:
    """Start operations in one call."""
    answer = await client.operations.BatchStartOperations(
        pb.BatchStartOperationsRequest(starts=starts), metadata=client.metadata
    )
    return list(answer.answers)


def told(answer: pb.StartAnswer) -> str:
    """Return what came of a start."""
    if answer.WhichOneof("answer") == "error":
        return reason_in(answer.error)
    return "attached" if answer.status.attached else "started"


async def test_every_start_has_its_own_answer(operation_gateway: RunningGateway) -> None:
    """Good ones among bad ones, in their order; what an earlier one started a later one attaches to."""
    caller = operation_gateway.client(CALLER)
    known, new = request_header(), request_header()
    await start(caller, sealed(known))
    answers = await start_all(
        caller,
        start_request(sealed(new)),
        start_request(b"nonsense"),
        start_request(sealed(known)),
        start_request(request(endpoint="elsewhere")),
        start_request(request(sender_namespace="stranger")),
        start_request(sealed(new), pb.REUSE_POLICY_REJECT),
        start_request(sealed(new._replace(operation="other"), b"other")),
        start_request(cancel_of(sealed(known))),
        start_request(request()),
    )
    assert [told(answer) for answer in answers] == [
        "started",
        "WIRE_FORMAT",
        "attached",
        "ENDPOINT_NOT_FOUND",
        "HEADER_MISMATCH",
        # The same bytes are a repeated call, whatever the policy.
        "attached",
        "OPERATION_CONFLICT",
        "WRONG_DIRECTION",
        "started",
    ]
    assert answers[2].status.request.header
    assert not answers[0].status.HasField("request")
    assert (await described(caller, new.operation_id)).operation_id == new.operation_id


async def test_nobody_starts_what_policy_denies(operation_gateway: RunningGateway) -> None:
    """Each start is decided, whoever sends it in whatever company."""
    stranger = operation_gateway.client("stranger")
    header = request_header(sender_namespace="stranger", principal="stranger/process")
    (denied,) = await start_all(stranger, start_request(sealed(header)))
    assert told(denied) == "ACCESS_DENIED"


@pytest.mark.parametrize("count", [0, 129])
@pytest.mark.parametrize("store_kind", ["sqlite"])
async def test_call_is_refused_when_it_has_no_starts_or_too_many(
    operation_gateway: RunningGateway, count: int
) -> None:
    """And nothing is started."""
    header = request_header()
    caller = operation_gateway.client(CALLER)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await start_all(caller, *[start_request(sealed(header))] * count)
    assert refusal(refused.value) == (grpc.StatusCode.INVALID_ARGUMENT, "BATCH_SIZE")
    with pytest.raises(grpc.aio.AioRpcError):
        await described(caller, header.operation_id)


async def test_all_have_begun_when_the_answer_has_no_room_for_all(
    operation_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is always answered, so that sending the others again leads somewhere."""
    monkeypatch.setattr(batched_starts, "MOST_BYTES_ANSWERED", 1)
    caller = operation_gateway.client(CALLER)
    headers = [request_header() for _ in range(3)]
    starts = [start_request(sealed(header)) for header in headers]
    (first,) = await start_all(caller, *starts)
    assert first.status.operation_id == headers[0].operation_id
    for header in headers:
        assert (await described(caller, header.operation_id)).operation_id == header.operation_id
    (second,) = await start_all(caller, *starts[1:])
    assert (second.status.operation_id, told(second)) == (headers[1].operation_id, "attached")


async def test_clients_start_many_and_have_every_result(
    local_gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Async over the session and sync over batches mean the same operations; whoever comes later attaches."""
    monkeypatch.setattr(batched_starts, "MOST_BYTES_ANSWERED", 10_000)
    names = [f"report {number}" for number in range(200)]
    starts = [Start(Reports.make, name, id=name) for name in names]
    async with local_gateway as gateway:
        await gateway.endpoint("reports", namespace="app-team", allow=["data-team"])
        client = await gateway.client("data-team")
        reports = client.create_nexus_client(endpoint="reports", service=Reports)
        async with gateway.worker(
            "app-team", task_queue="reports", nexus_service_handlers=[ReportsHandler()]
        ):
            handles = await reports.start_operations(starts)
            started = [handle for handle in handles if isinstance(handle, OperationHandle)]
            assert [await handle.result() for handle in started] == [name.upper() for name in names]
            team = await gateway.namespace("data-team")

            def again() -> list[object]:
                with SyncClient.connect(
                    gateway.address, keyring=team.keyring, trust=team.trust, credentials=team.credentials
                ) as sync:
                    found = sync.create_nexus_client("reports", Reports).start_operations(starts)
                    ids = [getattr(handle, "operation_id", handle) for handle in found]
                    last = found[-1]
                    assert not isinstance(last, Exception)
                    return [*ids, last.result()]

            assert await asyncio.to_thread(again) == [
                *(handle.operation_id for handle in started),
                names[-1].upper(),
            ]
