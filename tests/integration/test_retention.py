"""After its retention: who took part in an operation hears that it expired, nobody else hears anything."""

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.integration.caller_session import Call, Session, execute_call
from tests.integration.echo import Echo, EchoHandler
from tests.integration.operation_calls import (
    cancel,
    described,
    execute,
    reason_in,
    refusal,
    start,
    start_request,
    wait,
)
from tests.integration.operation_gateway import RunningGateway, Worker
from tests.integration.sealed_messages import (
    CALLER,
    ENDPOINT,
    HANDLER,
    NOW_MS,
    answer_to,
    cancel_of,
    outcome,
    request,
)

from isthmus.client.errors import OperationExpiredError
from isthmus.gateway.commands.retire_operations import retire_operations
from isthmus.gateway.core.identity import IDENTITY_LIFE
from isthmus.gateway.ports import AuditFilter
from isthmus.testing import LocalGateway
from isthmus.v1 import audit_pb2, operation_pb2, operation_service_pb2, worker_service_pb2
from isthmus.wire.envelope import parse_envelope

CODE = grpc.StatusCode
EXPIRED = (CODE.FAILED_PRECONDITION, "OPERATION_EXPIRED")
UNKNOWN = (CODE.NOT_FOUND, "OPERATION_NOT_FOUND")
DAY_MS = 86_400_000
# A request that can be repeated for longer than anything is kept.
LONG = {"expires_at_ms": NOW_MS + 500 * DAY_MS}


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Return code and reason of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def ended(gateway: RunningGateway, envelope: bytes) -> bytes:
    """Run an operation to its end; return its id."""
    worker = await Worker(gateway.client(HANDLER)).hello(grant=1)
    status = await start(gateway.client(CALLER), envelope)
    assert (await worker.answer(outcome(await worker.tasks.get()))).error == b""
    await worker.disconnect()
    return status.operation_id


@pytest.fixture
async def expired(operation_gateway: RunningGateway) -> tuple[bytes, bytes]:
    """An operation whose retention is over: its request and its id."""
    envelope = request(**LONG)
    operation_id = await ended(operation_gateway, envelope)
    operation_gateway.advance(days=30)
    await operation_gateway.retire()
    return envelope, operation_id


async def test_status_of_many_says_so_when_one_of_them_expired(
    operation_gateway: RunningGateway, expired: tuple[bytes, bytes]
) -> None:
    """To its caller only; the handler did not call it."""
    _, operation_id = expired
    wanted = operation_service_pb2.BatchGetOperationStatusesRequest(operation_ids=[operation_id])
    for namespace, presence in (
        (CALLER, operation_service_pb2.PRESENCE_EXPIRED),
        (HANDLER, operation_service_pb2.PRESENCE_UNKNOWN),
    ):
        client = operation_gateway.client(namespace)
        answer = await client.operations.BatchGetOperationStatuses(wanted, metadata=client.metadata)
        assert list(answer.statuses) == [
            operation_service_pb2.BriefStatus(operation_id=operation_id, presence=presence)
        ]


async def events(gateway: RunningGateway, wanted: AuditFilter) -> list[audit_pb2.AuditEvent]:
    """Return what the log says."""
    stored = await gateway.store.read(lambda reader: reader.audit_events(wanted))
    return [audit_pb2.AuditEvent.FromString(entry.event) for entry in stored]


async def test_outcome_is_kept_when_its_retention_is_not_over(operation_gateway: RunningGateway) -> None:
    """To the day: a start that is repeated attaches, a wait gets the outcome."""
    envelope = request(**LONG)
    operation_id = await ended(operation_gateway, envelope)
    operation_gateway.advance(days=29, hours=23)
    await operation_gateway.retire()
    caller = operation_gateway.client(CALLER)
    assert (await start(caller, envelope)).attached
    assert (await wait(caller, operation_id)).state == operation_pb2.OPERATION_STATE_SUCCEEDED


async def test_caller_hears_that_it_expired_when_the_retention_is_over(
    operation_gateway: RunningGateway, expired: tuple[bytes, bytes]
) -> None:
    """Start, execute, wait, look and cancel: at once, and nothing is started."""
    envelope, operation_id = expired
    caller = operation_gateway.client(CALLER)
    again = request(**LONG, operation_id=operation_id)
    for call in (
        start(caller, envelope),
        start(caller, again),
        start(caller, again, operation_service_pb2.REUSE_POLICY_REJECT),
        execute(caller, again),
        wait(caller, operation_id),
        wait(caller, operation_id, 0, include_request=True),
        described(caller, operation_id),
        described(caller, operation_id, CALLER),
        cancel(caller, cancel_of(envelope)),
    ):
        assert await refused(call) == EXPIRED
    started = await events(operation_gateway, AuditFilter(types=frozenset({"operation_started"})))
    assert len(started) == 1


async def test_session_hears_that_it_expired_when_the_retention_is_over(
    operation_gateway: RunningGateway, expired: tuple[bytes, bytes]
) -> None:
    """In frames as in unary calls."""
    envelope, operation_id = expired
    session = Session(operation_gateway.client(CALLER))
    waiting = operation_service_pb2.WaitOperationRequest(operation_id=operation_id, wait_ms=60_000)
    await session.send(
        Call(call_id=1, start=start_request(envelope)),
        execute_call(2, request(**LONG, operation_id=operation_id)),
        Call(call_id=3, wait=waiting),
    )
    for call_id in (1, 2, 3):
        assert reason_in((await session.reply(call_id)).error) == EXPIRED[1]
    session.reader.cancel()


async def test_handler_hears_that_it_expired_when_the_retention_is_over(
    operation_gateway: RunningGateway, expired: tuple[bytes, bytes]
) -> None:
    """It looks, fetches the request, and completes too late, which goes on record."""
    envelope, operation_id = expired
    handler = operation_gateway.client(HANDLER)
    late = answer_to(envelope)
    fetch = worker_service_pb2.GetRequestRequest(operation_id=operation_id)
    complete = worker_service_pb2.CompleteOperationRequest(
        caller_namespace=CALLER, operation_id=operation_id, envelope=late
    )
    for call in (
        described(handler, operation_id),
        handler.workers.GetRequest(fetch, metadata=handler.metadata),
        handler.workers.CompleteOperation(complete, metadata=handler.metadata),
    ):
        assert await refused(call) == EXPIRED
    *_, last = await events(operation_gateway, AuditFilter(operation_id=operation_id))
    assert last.late_outcome_refused.outcome_digest == parse_envelope(late).digest
    assert last.late_outcome_refused.operation.service == "Invoices"


@pytest.mark.parametrize("namespace", ["", CALLER, HANDLER])
async def test_stranger_hears_nothing_when_the_retention_is_over(
    operation_gateway: RunningGateway, expired: tuple[bytes, bytes], namespace: str
) -> None:
    """Not even that there was something."""
    _, operation_id = expired
    stranger = operation_gateway.client("stranger")
    fetch = worker_service_pb2.GetRequestRequest(operation_id=operation_id, caller_namespace=namespace)
    for call in (
        described(stranger, operation_id, namespace),
        wait(stranger, operation_id, 0),
        stranger.workers.GetRequest(fetch, metadata=stranger.metadata),
    ):
        assert await refused(call) == UNKNOWN


async def test_log_says_what_was_deleted_when_the_retention_is_over(
    operation_gateway: RunningGateway, expired: tuple[bytes, bytes]
) -> None:
    """By the gateway, for the owner of the endpoint; and what happened before is still there."""
    _, operation_id = expired
    wanted = AuditFilter(namespace=HANDLER, types=frozenset({"operations_expired"}))
    (event,) = await events(operation_gateway, wanted)
    assert event.actor == "gateway"
    assert (event.operations_expired.endpoint, event.operations_expired.operations) == (ENDPOINT, 1)
    assert event.operations_expired.closed_until_ms == NOW_MS
    before = await events(operation_gateway, AuditFilter(operation_id=operation_id))
    assert before[0].HasField("operation_started")
    assert before[-1].HasField("operation_ended")


async def test_retention_of_each_endpoint_counts_when_they_differ(operation_gateway: RunningGateway) -> None:
    """An hour here, a year there."""
    await operation_gateway.put_endpoint(retention=timedelta(hours=1))
    await operation_gateway.put_endpoint("reports", retention=timedelta(days=365))
    short = await ended(operation_gateway, request(**LONG))
    long = await ended(operation_gateway, request(**LONG, endpoint="reports"))
    operation_gateway.advance(days=300)
    await operation_gateway.retire()
    caller = operation_gateway.client(CALLER)
    assert await refused(wait(caller, short)) == EXPIRED
    assert (await wait(caller, long)).state == operation_pb2.OPERATION_STATE_SUCCEEDED
    operation_gateway.advance(days=65)
    await operation_gateway.retire()
    assert await refused(wait(operation_gateway.client(CALLER), long)) == EXPIRED


async def test_id_is_free_again_when_400_days_are_over(operation_gateway: RunningGateway) -> None:
    """Not a day before."""
    envelope = request(**LONG)
    operation_id = await ended(operation_gateway, envelope)
    operation_gateway.advance(days=IDENTITY_LIFE.days - 1)
    await operation_gateway.retire()
    assert await refused(start(operation_gateway.client(CALLER), envelope)) == EXPIRED
    operation_gateway.advance(days=1)
    await operation_gateway.retire()
    caller = operation_gateway.client(CALLER)
    assert await refused(wait(caller, operation_id)) == UNKNOWN
    assert not (await start(caller, envelope)).attached


async def test_many_are_deleted_step_by_step_when_many_are_due(operation_gateway: RunningGateway) -> None:
    """More endpoints than a page has, and one that was deleted."""
    for number in range(70):
        await operation_gateway.put_endpoint(f"endpoint-{number}")
    last = await ended(operation_gateway, request(**LONG, endpoint="endpoint-69"))
    operation_gateway.advance(days=31)
    await operation_gateway.retire()
    assert await refused(wait(operation_gateway.client(CALLER), last)) == EXPIRED


async def test_client_raises_an_error_of_its_own_when_an_operation_expired(
    local_gateway: LocalGateway,
) -> None:
    """A start under the same id, a handle that waits, and one made of the id alone; nothing runs again."""
    async with local_gateway as gateway:
        await gateway.endpoint("echo", namespace="app-team", allow=["data-team"])
        async with gateway.worker("app-team", task_queue="echo", nexus_service_handlers=[EchoHandler()]):
            client = await gateway.client("data-team")
            echo = client.create_nexus_client(endpoint="echo", service=Echo)
            handle = await echo.start_operation(Echo.say, "hello", id="greeting")
            assert await handle.result() == "hello"
            later = datetime.now(UTC) + timedelta(days=31)
            store = gateway._running()._store
            await store.transact(lambda uow: retire_operations(uow, "echo", now=later, limit=100))
            for call in (
                echo.start_operation(Echo.say, "hello", id="greeting"),
                echo.execute_operation(Echo.say, "hello", id="greeting"),
                echo.start_operation(Echo.say, "hello", id="greeting", reuse_policy="restart_if_failed"),
                handle.cancel(),
                handle.describe(),
                client.get_operation_handle(handle.operation_id).result(),
            ):
                with pytest.raises(OperationExpiredError, match="not kept any more"):
                    await call
