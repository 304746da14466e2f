"""Signals to operations: durable, in order, once; to the attempt that runs, or to the signal handler."""

import asyncio
from collections.abc import Callable

import grpc
import pytest
from tests.integration.caller_session import Session
from tests.integration.operation_calls import make_round_trip, reason_in, refusal, start
from tests.integration.operation_gateway import Client, RunningGateway, Worker, running_gateway
from tests.integration.sealed_messages import (
    CALLER,
    HANDLER,
    cancel_of,
    outcome,
    ref,
    request,
    retryable,
    signal_to,
)

from isthmus.endpoints.endpoint import AllowRule
from isthmus.gateway.commands import signal_operation
from isthmus.gateway.ports import AuditFilter, Store
from isthmus.v1 import operation_service_pb2, worker_service_pb2
from isthmus.v1.audit_pb2 import AuditEvent
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.header import Direction


async def send(caller: Client, envelope: bytes) -> int:
    """Send a signal; return its number."""
    answer = await caller.operations.SignalOperation(
        operation_service_pb2.SignalOperationRequest(envelope=envelope), metadata=caller.metadata
    )
    return answer.number


async def refused(caller: Client, envelope: bytes) -> tuple[grpc.StatusCode, str]:
    """Send a signal that is refused; return why."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(caller, envelope)
    return refusal(caught.value)


def read(task: worker_service_pb2.Task, after: int = 0) -> worker_service_pb2.SignalRead:
    """Return the read of a task."""
    return worker_service_pb2.SignalRead(task=ref(task), after=after)


async def running(gateway: RunningGateway) -> tuple[Worker, worker_service_pb2.Task]:
    """Start an operation at a worker that has room for more."""
    worker = await Worker(gateway.client(HANDLER)).hello(grant=4)
    await start(gateway.client(CALLER), request())
    return worker, await worker.tasks.get()


async def test_running_attempt_gets_signals_when_it_reads_them(operation_gateway: RunningGateway) -> None:
    """Those that there are, then further ones as soon as they are durable; again whenever it asks again."""
    worker, task = await running(operation_gateway)
    caller = operation_gateway.client(CALLER)
    signals = [signal_to(task.request, number) for number in (1, 2, 3)]
    assert [await send(caller, signal) for signal in signals[:2]] == [1, 2]
    await worker.send(reads=[read(task)])
    first = await worker.signals.get()
    assert (first.first, list(first.signals), first.error) == (1, signals[:2], b"")
    await worker.send(reads=[read(task, after=2)])
    while len(operation_gateway.assembly.waiters) == 0:
        await make_round_trip(caller)
    assert await send(caller, signals[2]) == 3
    following = await worker.signals.get()
    assert (following.first, list(following.signals)) == (3, signals[2:])
    await worker.send(reads=[read(task)])
    assert list((await worker.signals.get()).signals) == signals


async def test_next_attempt_gets_all_signals_when_one_is_lost(operation_gateway: RunningGateway) -> None:
    """From the first, those that came between attempts, too; the old attempt gets no more."""
    worker, task = await running(operation_gateway)
    caller = operation_gateway.client(CALLER)
    signals = [signal_to(task.request, number) for number in (1, 2)]
    await send(caller, signals[0])
    await worker.answer(retryable(task))
    await send(caller, signals[1])
    operation_gateway.advance(seconds=1)
    again = await worker.tasks.get()
    await worker.send(reads=[read(task), read(again)])
    answers = [await worker.signals.get(), await worker.signals.get()]
    by_attempt = {answer.task.attempt: answer for answer in answers}
    assert reason_in(by_attempt[1].error) == "ATTEMPT_OVER"
    assert list(by_attempt[2].signals) == signals


async def test_reads_end_when_the_operation_ends(operation_gateway: RunningGateway) -> None:
    """Nobody waits for what cannot come."""
    worker, task = await running(operation_gateway)
    await worker.send(reads=[read(task)])
    while len(operation_gateway.assembly.waiters) == 0:
        await make_round_trip(operation_gateway.client(CALLER))
    await worker.send(outcome(task))
    assert reason_in((await worker.signals.get()).error) == "ATTEMPT_OVER"
    assert len(operation_gateway.assembly.waiters) == 0


async def test_unary_twin_returns_signals_when_a_worker_has_no_stream(
    operation_gateway: RunningGateway,
) -> None:
    """The same read as a call, which waits for the first."""
    _, task = await running(operation_gateway)
    client = operation_gateway.client(HANDLER)

    async def ask(wait_ms: int) -> worker_service_pb2.TaskSignals:
        asked = worker_service_pb2.ReadSignalsRequest(read=read(task), wait_ms=wait_ms)
        return (await client.workers.ReadSignals(asked, metadata=client.metadata)).signals

    assert list((await ask(0)).signals) == []
    waiting = asyncio.create_task(ask(30_000))
    while len(operation_gateway.assembly.waiters) == 0:
        await make_round_trip(client)
    signal = signal_to(task.request, 1)
    await send(operation_gateway.client(CALLER), signal)
    assert list((await waiting).signals) == [signal]
    stranger = operation_gateway.client("stranger")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stranger.workers.ReadSignals(
            worker_service_pb2.ReadSignalsRequest(read=read(task)), metadata=stranger.metadata
        )
    assert refusal(caught.value) == (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND")


async def test_signal_is_recorded_once_when_it_is_sent_again(
    operation_gateway: RunningGateway, session: Session
) -> None:
    """The same bytes again, by whichever way, are the same signal; its record is written once."""
    _, task = await running(operation_gateway)
    caller = operation_gateway.client(CALLER)
    signal = signal_to(task.request, 1)
    assert await send(caller, signal) == 1
    again = operation_service_pb2.SignalOperationRequest(envelope=signal)
    await session.send(operation_service_pb2.SessionCall(call_id=5, signal=again))
    assert (await session.reply(5)).signal.number == 1
    assert await send(caller, signal_to(task.request, 2)) == 2
    assert await send(caller, signal) == 1
    wanted = AuditFilter(types=frozenset({"signal_received"}))
    records = await operation_gateway.store.read(lambda reader: reader.audit_events(wanted))
    events = [AuditEvent.FromString(record.event) for record in records]
    assert [event.signal_received.number for event in events] == [1, 2]
    assert events[0].actor == f"{CALLER}/process"
    assert events[0].signal_received.digest == parse_envelope(signal).digest
    assert events[0].signal_received.signal_bytes == len(signal)


async def test_signal_is_refused_when_it_is_out_of_order(operation_gateway: RunningGateway) -> None:
    """A gap, or another message under a number; another sender begins at 1."""
    _, task = await running(operation_gateway)
    caller = operation_gateway.client(CALLER)
    await send(caller, signal_to(task.request, 1))
    gap = await refused(caller, signal_to(task.request, 3))
    assert gap == (grpc.StatusCode.FAILED_PRECONDITION, "SIGNAL_GAP")
    other = await refused(caller, signal_to(task.request, 1))
    assert other == (grpc.StatusCode.ABORTED, "SIGNAL_CONFLICT")
    assert await send(caller, signal_to(task.request, 1, sender_session=b"d" * 16)) == 2
    assert await send(caller, signal_to(task.request, 2)) == 3


async def test_signal_is_refused_when_the_operation_has_ended_or_is_unknown(
    operation_gateway: RunningGateway,
) -> None:
    """Nobody would get it. One that was recorded before is still recorded."""
    worker, task = await running(operation_gateway)
    caller = operation_gateway.client(CALLER)
    first = signal_to(task.request, 1)
    await send(caller, first)
    await worker.answer(outcome(task))
    late = await refused(caller, signal_to(task.request, 2))
    assert late == (grpc.StatusCode.FAILED_PRECONDITION, "OPERATION_ENDED")
    assert await send(caller, first) == 1
    unknown = await refused(caller, signal_to(request(), 1))
    assert unknown == (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND")


async def test_signal_is_refused_when_its_header_does_not_match(operation_gateway: RunningGateway) -> None:
    """Another request, another principal, expired, or no signal at all."""
    _, task = await running(operation_gateway)
    caller = operation_gateway.client(CALLER)
    for changes, reason in (
        ({"request_digest": b"x" * 32}, "HEADER_MISMATCH"),
        ({"principal": "data/other"}, "HEADER_MISMATCH"),
        ({"expires_at_ms": parse_envelope(task.request).header.issued_at_ms + 1}, "MESSAGE_EXPIRED"),
    ):
        operation_gateway.advance(milliseconds=2)
        assert (await refused(caller, signal_to(task.request, 1, **changes)))[1] == reason

    assert (await refused(caller, cancel_of(task.request)))[1] == "WRONG_DIRECTION"


async def test_signal_is_denied_when_the_endpoint_allows_it_no_longer(
    operation_gateway: RunningGateway,
) -> None:
    """Who may not call any more may not signal either; the denial is on record."""
    _, task = await running(operation_gateway)
    await operation_gateway.put_endpoint(allow=(AllowRule(namespace=HANDLER),))
    denied = await refused(operation_gateway.client(CALLER), signal_to(task.request, 1))
    assert denied == (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")


async def test_signal_is_refused_when_there_are_too_many(
    operation_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By count and by bytes, of each operation; the ones before stay."""
    monkeypatch.setattr(signal_operation, "MAX_SIGNALS", 2)
    _, task = await running(operation_gateway)
    caller = operation_gateway.client(CALLER)
    for number in (1, 2):
        await send(caller, signal_to(task.request, number))
    full = (grpc.StatusCode.FAILED_PRECONDITION, "TOO_MANY_SIGNALS")
    assert await refused(caller, signal_to(task.request, 3)) == full
    monkeypatch.setattr(signal_operation, "MAX_SIGNALS", 3)
    monkeypatch.setattr(signal_operation, "MAX_SIGNAL_BYTES", 3 * len(signal_to(task.request, 3)) - 1)
    assert await refused(caller, signal_to(task.request, 3)) == full


async def test_signals_survive_when_the_gateway_is_replaced(new_store: Callable[[], Store]) -> None:
    """Acknowledged is durable: another gateway over the same store hands them to the next attempt."""
    async with running_gateway(new_store()) as first:
        worker, task = await running(first)
        signal = signal_to(task.request, 1)
        await send(first.client(CALLER), signal)
        clock, issuer = first.clock, first.issuer
    async with running_gateway(new_store(), clock=clock, issuer=issuer) as second:
        worker = await Worker(second.client(HANDLER)).hello()
        again = await worker.tasks.get()
        await worker.send(reads=[read(again)])
        assert list((await worker.signals.get()).signals) == [signal]


def delivered(task: worker_service_pb2.Task) -> worker_service_pb2.TaskOutcome:
    """Return that the handler took a signal."""
    taken = worker_service_pb2.SignalDelivered()
    return worker_service_pb2.TaskOutcome(task=ref(task), signal_delivered=taken)


async def test_signals_are_handed_over_one_by_one_when_the_handler_finishes_later(
    operation_gateway: RunningGateway,
) -> None:
    """Those of before the start returned, then each further one; the next only when one was taken."""
    worker, task = await running(operation_gateway)
    caller = operation_gateway.client(CALLER)
    signals = [signal_to(task.request, number) for number in (1, 2, 3)]
    await send(caller, signals[0])
    started = outcome(task, Direction.STARTED)
    await worker.answer(started)
    first = await worker.tasks.get()
    assert (first.kind, first.attempt) == (worker_service_pb2.TASK_KIND_SIGNAL, 1)
    assert (first.signal, first.started, first.request) == (signals[0], started.envelope, task.request)
    await send(caller, signals[1])
    assert worker.tasks.empty()
    for _ in range(2):
        assert (await worker.answer(delivered(first))).error == b""
    second = await worker.tasks.get()
    assert (second.attempt, second.signal) == (2, signals[1])
    await worker.answer(delivered(second))
    await send(caller, signals[2])
    assert (await worker.tasks.get()).signal == signals[2]
    assert worker.tasks.empty()


async def test_signal_is_handed_over_again_when_it_was_not_taken(operation_gateway: RunningGateway) -> None:
    """After a failure with some patience, after a lost worker at once; and never after the end."""
    worker, task = await running(operation_gateway)
    caller = operation_gateway.client(CALLER)
    await worker.answer(outcome(task, Direction.STARTED))
    signal = signal_to(task.request, 1)
    await send(caller, signal)
    failed = await worker.tasks.get()
    await worker.answer(retryable(failed))
    operation_gateway.advance(seconds=10)
    again = await worker.tasks.get()
    assert (again.attempt, again.signal) == (1, signal)
    await worker.disconnect()
    operation_gateway.advance(seconds=31)
    await operation_gateway.lost_sessions.step()
    other = await Worker(operation_gateway.client(HANDLER), b"2" * 16).hello(grant=1)
    third = await other.tasks.get()
    assert (third.kind, third.signal) == (worker_service_pb2.TASK_KIND_SIGNAL, signal)
    await other.disconnect()
    back = await Worker(operation_gateway.client(HANDLER), b"2" * 16).hello(grant=1)
    assert (await back.tasks.get()).signal == signal
    await back.answer(outcome(task))
    late = await Worker(operation_gateway.client(HANDLER), b"3" * 16).hello(grant=1)
    await make_round_trip(caller)
    assert late.tasks.empty()
