"""How far an operation is: the latest progress for its caller, in frames and in unary calls."""

import asyncio
from typing import Any

import grpc
import pytest
from tests.integration.caller_session import Session
from tests.integration.operation_calls import LONG_WAIT_MS, make_round_trip, reason_in, refusal, start
from tests.integration.operation_gateway import Client, RunningGateway, Worker
from tests.integration.sealed_messages import (
    CALLER,
    HANDLER,
    answer_to,
    outcome,
    ref,
    request,
    retryable,
)

from isthmus.v1 import operation_pb2, operation_service_pb2, worker_service_pb2
from isthmus.wire.header import Direction, progress_sequence

Asked = operation_service_pb2.GetProgressRequest


def report(
    task: worker_service_pb2.Task, number: int, *, attempt: int | None = None, **changes: Any
) -> worker_service_pb2.TaskReport:
    """Return the n-th progress of a task."""
    place = {
        "sender_session": b"p" * 16,
        "sequence": progress_sequence(task.attempt if attempt is None else attempt, number),
    }
    envelope = answer_to(task.request, Direction.PROGRESS, **(place | changes))
    return worker_service_pb2.TaskReport(task=ref(task), progress=envelope)


def asked(
    operation_id: bytes, *, after: int = 0, wait_ms: int = 0
) -> operation_service_pb2.GetProgressRequest:
    """Return a question."""
    return operation_service_pb2.GetProgressRequest(
        operation_id=operation_id, after_sequence=after, wait_ms=wait_ms
    )


async def look(
    caller: Client, operation_id: bytes, *, after: int = 0, wait_ms: int = 0
) -> operation_service_pb2.GetProgressResponse:
    """Ask once."""
    return await caller.operations.GetProgress(
        asked(operation_id, after=after, wait_ms=wait_ms), metadata=caller.metadata
    )


async def running(gateway: RunningGateway) -> tuple[Worker, worker_service_pb2.Task]:
    """Start an operation at a worker that has room for its retry."""
    worker = await Worker(gateway.client(HANDLER)).hello(grant=2)
    await start(gateway.client(CALLER), request())
    return worker, await worker.tasks.get()


async def until_waiting(gateway: RunningGateway, count: int) -> None:
    """Return when so many wait."""
    while len(gateway.assembly.waiters) != count:
        await make_round_trip(gateway.client(CALLER))


async def test_latest_progress_is_shown_when_the_caller_asks(operation_gateway: RunningGateway) -> None:
    """None at first, then the latest; with its sequence the caller says what it knows."""
    worker, task = await running(operation_gateway)
    caller = operation_gateway.client(CALLER)
    assert (await look(caller, task.operation_id)).progress == b""
    first, second = report(task, 1), report(task, 2)
    for progress in (first, second):
        assert (await worker.report(progress)).error == b""
    found = await look(caller, task.operation_id)
    assert (found.operation_id, found.progress) == (task.operation_id, second.progress)
    assert found.state == operation_pb2.OPERATION_STATE_DISPATCHED
    assert (await look(caller, task.operation_id, after=progress_sequence(1, 1))).progress == second.progress
    assert (await look(caller, task.operation_id, after=progress_sequence(1, 2))).progress == b""


async def test_watcher_is_woken_when_there_is_newer_progress_and_when_it_ends(
    operation_gateway: RunningGateway,
) -> None:
    """The unary twin, held until there is news."""
    worker, task = await running(operation_gateway)
    caller = operation_gateway.client(CALLER)
    watching = asyncio.create_task(look(caller, task.operation_id, wait_ms=LONG_WAIT_MS))
    await until_waiting(operation_gateway, 1)
    first = report(task, 1)
    await worker.report(first)
    assert (await watching).progress == first.progress
    after = progress_sequence(1, 1)
    watching = asyncio.create_task(look(caller, task.operation_id, after=after, wait_ms=LONG_WAIT_MS))
    await until_waiting(operation_gateway, 1)
    await worker.answer(outcome(task))
    ended = await watching
    assert (ended.progress, ended.state) == (b"", operation_pb2.OPERATION_STATE_SUCCEEDED)
    # Afterwards it answers at once, with the last that there was.
    last = await look(caller, task.operation_id, wait_ms=LONG_WAIT_MS)
    assert last.progress == first.progress
    assert len(operation_gateway.assembly.waiters) == 0


async def test_session_carries_progress_when_it_is_watched_in_frames(
    operation_gateway: RunningGateway, session: Session
) -> None:
    """A look is a call like others: it is answered when there is news, and can be abandoned."""
    worker, task = await running(operation_gateway)
    await session.send(
        operation_service_pb2.SessionCall(call_id=1, progress=asked(task.operation_id, wait_ms=LONG_WAIT_MS)),
        operation_service_pb2.SessionCall(call_id=2, progress=asked(task.operation_id, wait_ms=LONG_WAIT_MS)),
    )
    await until_waiting(operation_gateway, 2)
    await session.send(operation_service_pb2.SessionCall(call_id=2, abandon=operation_service_pb2.Abandon()))
    await until_waiting(operation_gateway, 1)
    first = report(task, 1)
    await worker.report(first)
    reply = await session.reply(1)
    assert (reply.call_id, reply.progress.progress) == (1, first.progress)


async def test_progress_is_refused_when_it_is_not_newer(operation_gateway: RunningGateway) -> None:
    """The same bytes again are recorded already; another message under an old number is not."""
    worker, task = await running(operation_gateway)
    second = report(task, 2)
    for _ in range(2):
        assert (await worker.report(second)).error == b""
    for older in (report(task, 1), report(task, 2), report(task, 9, attempt=0)):
        assert reason_in((await worker.report(older)).error) == "PROGRESS_OUT_OF_ORDER"
    found = await look(operation_gateway.client(CALLER), task.operation_id)
    assert found.progress == second.progress


async def test_progress_goes_on_when_another_attempt_reports(operation_gateway: RunningGateway) -> None:
    """Numbers of the next attempt are above all of those before; those of the last one are refused."""
    worker, task = await running(operation_gateway)
    await worker.report(report(task, 7))
    await worker.answer(retryable(task))
    assert reason_in((await worker.report(report(task, 8))).error) == "ATTEMPT_OVER"
    operation_gateway.advance(seconds=1)
    again = await worker.tasks.get()
    newest = report(again, 1)
    assert (await worker.report(newest)).error == b""
    found = await look(operation_gateway.client(CALLER), task.operation_id)
    assert found.progress == newest.progress


@pytest.mark.parametrize(
    "changes",
    [{"operation_id": b"x" * 16}, {"request_digest": b"x" * 32}, {"service": "Other"}],
    ids=["operation", "request", "service"],
)
@pytest.mark.parametrize("store_kind", ["sqlite"])
async def test_progress_is_refused_when_it_is_about_something_else(
    operation_gateway: RunningGateway, changes: dict[str, Any]
) -> None:
    """What the caller would have to refuse is not stored."""
    worker, task = await running(operation_gateway)
    refused = await worker.report(report(task, 1, **changes))
    assert reason_in(refused.error) == "HEADER_MISMATCH"


@pytest.mark.parametrize("namespace", [HANDLER, "stranger"])
async def test_operation_does_not_exist_when_others_ask_for_its_progress(
    operation_gateway: RunningGateway, namespace: str
) -> None:
    """It is sealed to the caller, and only the caller asks."""
    _, task = await running(operation_gateway)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await look(operation_gateway.client(namespace), task.operation_id)
    assert refusal(refused.value) == (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND")


async def test_deadlines_stay_when_a_handler_reports(operation_gateway: RunningGateway) -> None:
    """Progress keeps no operation alive."""
    worker, task = await running(operation_gateway)
    operation_gateway.advance(minutes=59)
    await worker.send()
    assert (await worker.report(report(task, 1))).error == b""
    operation_gateway.advance(minutes=2)
    await operation_gateway.timeouts.step()
    found = await look(operation_gateway.client(CALLER), task.operation_id)
    assert found.state == operation_pb2.OPERATION_STATE_TIMED_OUT
