"""Frames: the caller's session, the worker's stream and its unary twin, and how they end."""

import asyncio
from datetime import timedelta

import grpc
import grpc.aio
import pytest
from tests.integration.caller_session import Session, execute_call
from tests.integration.operation_calls import (
    described,
    execute,
    make_round_trip,
    reason_in,
    refusal,
    start,
    start_request,
    wait,
)
from tests.integration.operation_gateway import Client, RunningGateway, Worker, worker_hello
from tests.integration.sealed_messages import (
    CALLER,
    HANDLER,
    cancel_of,
    outcome,
    ref,
    request,
    request_header,
    sealed,
)

from isthmus.gateway.api import session_stream
from isthmus.v1 import operation_pb2, operation_service_pb2, worker_service_pb2
from isthmus.wire.header import Direction

Call = operation_service_pb2.SessionCall


HELLO = worker_hello(b"p" * 16)


@pytest.fixture
def store_kind() -> str:
    """Frames and streams are the same on each store."""
    return "sqlite"


async def poll(
    client: Client, *, max_tasks: int = 8, wait_ms: int = 30_000, again: bool = False
) -> list[worker_service_pb2.Task]:
    """Poll for tasks."""
    answer = await client.workers.PollTasks(
        worker_service_pb2.PollTasksRequest(worker=HELLO, max_tasks=max_tasks, wait_ms=wait_ms, again=again),
        metadata=client.metadata,
    )
    assert answer.lease_ms == 30_000
    return list(answer.tasks)


async def respond(
    client: Client, *outcomes: worker_service_pb2.TaskOutcome
) -> worker_service_pb2.RespondTasksResponse:
    """Answer tasks."""
    return await client.workers.RespondTasks(
        worker_service_pb2.RespondTasksRequest(worker=HELLO, outcomes=outcomes),
        metadata=client.metadata,
    )


async def test_session_answers_each_call_when_frame_has_many(
    operation_gateway: RunningGateway, session: Session
) -> None:
    """One frame of every kind of call; every one gets its own answer, errors as statuses."""
    header = request_header()
    envelope = sealed(header)
    await session.send(
        Call(call_id=1, start=start_request(envelope)),
        Call(call_id=2, start=start_request(b"garbage")),
        Call(call_id=3),
    )
    assert (await session.reply(1)).start.status.state == operation_pb2.OPERATION_STATE_SCHEDULED
    assert reason_in((await session.reply(2)).error) == "WIRE_FORMAT"
    assert reason_in((await session.reply(3)).error) == "UNKNOWN_CALL"
    await session.send(
        Call(call_id=4, get=operation_service_pb2.GetOperationRequest(operation_id=header.operation_id)),
        Call(
            call_id=5,
            wait=operation_service_pb2.WaitOperationRequest(operation_id=header.operation_id, wait_ms=60_000),
        ),
    )
    assert (await session.reply(4)).get.operation.operation_id == header.operation_id
    await session.send(
        Call(call_id=6, cancel=operation_service_pb2.CancelOperationRequest(envelope=cancel_of(envelope)))
    )
    canceled = operation_pb2.OPERATION_STATE_CANCELED
    assert (await session.reply(6)).cancel.status.state == canceled
    assert (await session.reply(5)).wait.status.state == canceled
    await session.finish()


async def test_starts_share_a_commit_when_they_share_a_frame(
    operation_gateway: RunningGateway, session: Session
) -> None:
    """A frame of sixteen executes, answered by a frame of outcomes: far fewer commits than operations."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=16)
    await make_round_trip(operation_gateway.client(CALLER))
    operation_gateway.commits.clear()
    await session.send(*(execute_call(number, request()) for number in range(16)))
    tasks = [await worker.tasks.get() for _ in range(16)]
    await worker.send(*(outcome(task) for task in tasks))
    replies = [await session.reply(number) for number in range(16)]
    assert all(reply.execute.status.state == operation_pb2.OPERATION_STATE_SUCCEEDED for reply in replies)
    assert len(operation_gateway.commits) < 16


async def test_call_is_refused_when_too_many_are_open(
    operation_gateway: RunningGateway, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls in flight are bounded; an abandoned one makes room, and its operation lives on."""
    monkeypatch.setattr(session_stream, "MAX_CALLS_IN_FLIGHT", 2)
    header = request_header()
    await session.send(execute_call(1, sealed(header)), execute_call(2, request()))
    await session.send(execute_call(3, request()), execute_call(1, request()))
    assert reason_in((await session.reply(3)).error) == "TOO_MANY_CALLS"
    assert reason_in((await session.reply(1)).error) == "CALL_ID"
    while len(operation_gateway.assembly.waiters) < 2:
        await make_round_trip(operation_gateway.client(CALLER))
    await session.send(
        Call(call_id=1, abandon=operation_service_pb2.Abandon()), execute_call(4, request(), wait_ms=0)
    )
    state = (await session.reply(4)).execute.status.state
    assert state == operation_pb2.OPERATION_STATE_SCHEDULED
    shown = await described(operation_gateway.client(CALLER), header.operation_id)
    assert shown.state == operation_pb2.OPERATION_STATE_SCHEDULED
    assert not shown.cancel_requested


async def test_waits_end_when_session_breaks(operation_gateway: RunningGateway) -> None:
    """Nothing of a broken stream stays in memory; its operations live on."""
    caller = operation_gateway.client(CALLER)
    broken = Session(caller)
    header = request_header()
    await broken.send(execute_call(1, sealed(header)))
    while not operation_gateway.commits:
        await make_round_trip(caller)
    broken._call.cancel()
    while len(operation_gateway.assembly.waiters) or len(operation_gateway.assembly.streams):
        await make_round_trip(caller)
    assert (await wait(caller, header.operation_id, wait_ms=0)).state


async def test_streams_are_asked_to_leave_when_gateway_drains(
    operation_gateway: RunningGateway, session: Session
) -> None:
    """Open calls are still answered; a worker gets no more tasks; who comes now is sent away at once."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=2)
    await session.send(execute_call(1, request()))
    task = await worker.tasks.get()
    operation_gateway.assembly.streams.drain()
    await session.drained.wait()
    await worker.drained.wait()
    assert (await worker.answer(outcome(task))).error == b""
    assert (await session.reply(1)).execute.status.state == operation_pb2.OPERATION_STATE_SUCCEEDED
    await session.finish()
    caller = operation_gateway.client(CALLER)
    assert (await start(caller, request())).state == operation_pb2.OPERATION_STATE_SCHEDULED
    await worker.finish()
    late = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    await late.drained.wait()
    assert late.tasks.empty()


async def test_stream_is_drained_then_ended_when_credential_expires(
    operation_gateway: RunningGateway, session: Session
) -> None:
    """Half a minute of notice, then the end; leases and operations are not touched."""
    await session.send(execute_call(1, request()))
    while not len(operation_gateway.assembly.streams):
        await make_round_trip(operation_gateway.client(CALLER))
    operation_gateway.timers.advance(timedelta(hours=12) - timedelta(seconds=30))
    await session.drained.wait()
    operation_gateway.timers.advance(timedelta(seconds=30))
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await session.reader
    assert refusal(ended.value) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_EXPIRED")


async def test_poll_takes_and_answers_tasks_when_streams_are_not_possible(
    operation_gateway: RunningGateway,
) -> None:
    """The unary twin: waits for the first task, answers, and learns of interrupts."""
    handler = operation_gateway.client(HANDLER)
    caller = operation_gateway.client(CALLER)
    polling = asyncio.create_task(poll(handler))
    envelope = request()
    executing = asyncio.create_task(execute(caller, envelope))
    (task,) = await polling
    assert task.request == envelope
    await caller.operations.CancelOperation(
        operation_service_pb2.CancelOperationRequest(envelope=cancel_of(envelope)),
        metadata=caller.metadata,
    )
    answer = await respond(handler)
    assert [interrupt.task for interrupt in answer.interrupts] == [ref(task)]
    answer = await respond(handler, outcome(task, Direction.CANCELED))
    assert [ack.error for ack in answer.acks] == [b""]
    assert not answer.interrupts
    assert (await executing).state == operation_pb2.OPERATION_STATE_CANCELED


async def test_task_comes_again_when_the_answer_to_a_poll_was_lost(
    operation_gateway: RunningGateway,
) -> None:
    """A session that lives keeps what is leased to it: what it never got, nobody else gets either."""
    caller, handler = operation_gateway.client(CALLER), operation_gateway.client(HANDLER)
    await start(caller, request())
    [lost] = await poll(handler)
    assert await poll(handler, wait_ms=0) == []
    assert await poll(handler, again=True) == [lost]
    await respond(handler, outcome(lost, Direction.RESULT))
    assert await poll(handler, again=True, wait_ms=0) == []


async def test_poll_is_empty_when_its_time_is_over(operation_gateway: RunningGateway) -> None:
    """No task: an empty answer, and nothing stays behind."""
    handler = operation_gateway.client(HANDLER)
    assert await poll(handler, wait_ms=1) == []
    caller = operation_gateway.client(CALLER)
    header = request_header()
    await start(caller, sealed(header))
    shown = await described(caller, header.operation_id)
    assert shown.waiting == operation_pb2.WAITING_CAUSE_NO_POLLER


async def test_poll_takes_no_more_than_asked_when_backlog_is_larger(
    operation_gateway: RunningGateway,
) -> None:
    """The rest waits for the next poll."""
    caller = operation_gateway.client(CALLER)
    for _ in range(3):
        await start(caller, request())
    handler = operation_gateway.client(HANDLER)
    assert len(await poll(handler, max_tasks=2)) == 2
    assert len(await poll(handler, max_tasks=2)) == 1


async def test_request_is_fetched_when_completed_elsewhere(operation_gateway: RunningGateway) -> None:
    """Another process of the handler's namespace gets the sealed request by id; nobody else does."""
    envelope = request()
    status = await start(operation_gateway.client(CALLER), envelope)
    wanted = worker_service_pb2.GetRequestRequest(operation_id=status.operation_id)
    handler = operation_gateway.client(HANDLER)
    answer = await handler.workers.GetRequest(wanted, metadata=handler.metadata)
    assert (answer.caller_namespace, answer.request) == (CALLER, envelope)
    for other in (operation_gateway.client(CALLER), operation_gateway.client("stranger")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await other.workers.GetRequest(wanted, metadata=other.metadata)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_stream_is_refused_when_hello_is_malformed(operation_gateway: RunningGateway) -> None:
    """A session id of the wrong size is nobody's."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await Worker(operation_gateway.client(HANDLER), b"short").hello()
    assert refusal(refused.value) == (grpc.StatusCode.INVALID_ARGUMENT, "SESSION_ID")


async def test_newer_connection_wins_when_session_connects_twice(
    operation_gateway: RunningGateway,
) -> None:
    """The older stream is asked to leave, and tasks go to the newer one."""
    older = await Worker(operation_gateway.client(HANDLER)).hello(grant=4)
    newer = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    await older.drained.wait()
    await start(operation_gateway.client(CALLER), request())
    await newer.tasks.get()
    assert older.tasks.empty()


@pytest.mark.parametrize(
    ("direction", "token_key"),
    [(Direction.STARTED, b"k" * 31), (Direction.STARTED, b"k" * 33), (Direction.RESULT, b"k" * 32)],
)
async def test_outcome_is_refused_when_its_token_key_makes_no_sense(
    operation_gateway: RunningGateway, direction: Direction, token_key: bytes
) -> None:
    """Of another size, or beside something that is no asynchronous start."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    await start(operation_gateway.client(CALLER), request())
    answer = outcome(await worker.tasks.get(), direction)
    answer.token_key = token_key
    assert reason_in((await worker.answer(answer)).error) == "TOKEN_KEY"


async def test_request_is_refused_when_it_is_looked_for_in_two_ways(
    operation_gateway: RunningGateway,
) -> None:
    """By id and token at once, or by a token key of another size."""
    handler = operation_gateway.client(HANDLER)
    for wanted in (
        worker_service_pb2.GetRequestRequest(operation_id=b"o" * 16, token_key=b"k" * 32),
        worker_service_pb2.GetRequestRequest(token_key=b"k" * 16),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await handler.workers.GetRequest(wanted, metadata=handler.metadata)
        assert refusal(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "TOKEN_KEY")
