"""Cancels: of a running handler, of one that finishes later, and those that nobody signed."""

import asyncio
import concurrent.futures
import threading

import nexusrpc
import pytest
from tests.unit.worker.gateway import Gateway, Stream, start_task, task_ref
from tests.unit.worker.parties import Caller, HandlerClient
from tests.unit.worker.running import running
from tests.unit.worker.services import Charge, PaymentsHandler, Receipt

from isthmus.envelope.seal import Sealed
from isthmus.payload.converter import DefaultPayloadConverter
from isthmus.v1 import worker_service_pb2
from isthmus.wire.header import Direction

CONVERTER = DefaultPayloadConverter()


def interrupt(task: worker_service_pb2.Task, cancel: bytes = b"") -> worker_service_pb2.TaskInterrupt:
    """Ask for the interruption of a task."""
    return worker_service_pb2.TaskInterrupt(task=task_ref(task), cancel=cancel)


async def test_handler_is_canceled_when_its_caller_cancels(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A verified cancel interrupts the coroutine; that it gave in is sealed as CANCELED."""
    handler = PaymentsHandler()
    request = caller.request("wait", Charge("o", 1))
    async with running(client, handler):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        await handler.started.wait()
        stream.send(interrupts=[interrupt(start_task(request), caller.cancel(request))])
        outcome = await stream.outcome()
    assert handler.stopped.is_set()
    assert caller.open(outcome.envelope, request, Direction.CANCELED).digest


async def test_handler_decides_when_it_runs_in_a_thread(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A thread cannot be interrupted: it sees its cancellation, and its result is the outcome."""
    handler = PaymentsHandler()
    request = caller.request("wait_in_thread", Charge("o", 1))
    async with running(client, handler):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        await asyncio.to_thread(handler.thread_started.wait)
        stream.send(interrupts=[interrupt(start_task(request), caller.cancel(request))])
        outcome = await stream.outcome()
    opened = caller.open(outcome.envelope, request, Direction.RESULT)
    assert "canceled" in CONVERTER.from_payload(opened.payload, Receipt).reference


async def test_handler_does_not_run_when_the_cancel_arrives_with_the_task(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A cancel that overtakes the opening of the request is kept and verified after it."""
    handler = PaymentsHandler()
    request = caller.request("wait", Charge("o", 1))
    task = start_task(request)
    async with running(client, handler):
        stream = await gateway.stream()
        stream.send(tasks=[task], interrupts=[interrupt(task, caller.cancel(request))])
        outcome = await stream.outcome()
    assert handler.runs == 0
    assert caller.open(outcome.envelope, request, Direction.CANCELED).digest


async def test_handler_goes_on_when_the_cancel_is_forged(
    gateway: Gateway,
    client: HandlerClient,
    caller: Caller,
    stranger: Caller,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A cancel that somebody else signed, and one for another request, are ignored and logged."""
    handler = PaymentsHandler()
    request = caller.request("wait", Charge("o", 1))
    other = caller.request("wait", Charge("o", 1), operation_id=request.header.operation_id)
    task = start_task(request)
    async with running(client, handler):
        stream = await gateway.stream()
        stream.send(tasks=[task])
        await handler.started.wait()
        stream.send(
            interrupts=[interrupt(task, stranger.cancel(request)), interrupt(task, caller.cancel(other))]
        )
        # Frames are handled in order: once this one is answered, the forged ones were looked at.
        probe = caller.request("charge", Charge("o", 1))
        stream.send(tasks=[start_task(probe)])
        await stream.outcome()
        assert not handler.stopped.is_set()
        handler.release.set()
        outcome = await stream.outcome()
    assert caller.open(outcome.envelope, request, Direction.RESULT).digest
    assert caplog.text.count("cancel of op-") == 2


async def test_no_outcome_is_sent_when_the_task_was_taken_away(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """An interruption without a cancel stops the handler and says nothing; its slot is free again."""
    handler = PaymentsHandler()
    lost = caller.request("wait", Charge("o", 1))
    async with running(client, handler, max_concurrent_tasks=1):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(lost)])
        await handler.started.wait()
        stream.send(interrupts=[interrupt(start_task(lost))])
        await handler.stopped.wait()
        following = caller.request("charge", Charge("o", 1))
        stream.send(tasks=[start_task(following)])
        outcome = await stream.outcome()
    assert outcome.task.operation_id == following.header.operation_id
    assert stream.no_outcome()


async def test_task_runs_again_when_it_was_taken_away_and_given_back(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A redelivery that arrives while the first delivery is being stopped is not lost with it."""
    handler = PaymentsHandler()
    request = caller.request("wait", Charge("o", 1))
    async with running(client, handler):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        await handler.started.wait()
        stream.send(interrupts=[interrupt(start_task(request))])
        stream.send(tasks=[start_task(request, attempt=2)])
        await handler.stopped.wait()
        handler.release.set()
        outcome = await stream.outcome()
    assert outcome.task.attempt == 2
    assert handler.runs == 2


async def started_operation(stream: Stream, caller: Caller) -> tuple[Sealed, worker_service_pb2.TaskOutcome]:
    """Start an operation that finishes later."""
    request = caller.request("settle", Charge("order-9", 1))
    stream.send(tasks=[start_task(request)])
    return request, await stream.outcome()


def cancel_task(request: Sealed, started: bytes, cancel: bytes) -> worker_service_pb2.Task:
    """Make the task that delivers a cancel."""
    task = start_task(request)
    task.kind = worker_service_pb2.TASK_KIND_CANCEL
    task.started = started
    task.cancel = cancel
    return task


async def test_cancel_method_gets_the_token_when_an_operation_finishes_later(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """The token is opened, the ``def cancel`` runs in a thread, the gateway learns that it was delivered."""
    handler = PaymentsHandler()
    async with running(client, handler):
        stream = await gateway.stream()
        request, started = await started_operation(stream, caller)
        stream.send(tasks=[cancel_task(request, started.envelope, caller.cancel(request))])
        outcome = await stream.outcome()
    assert outcome.WhichOneof("outcome") == "cancel_delivered"
    assert outcome.task.kind == worker_service_pb2.TASK_KIND_CANCEL
    ((token, thread),) = handler.canceled
    assert token == "order-9"
    assert thread != threading.main_thread().name


@pytest.mark.parametrize(
    ("raises", "answer"),
    [
        (RuntimeError("later"), "retry"),
        (nexusrpc.HandlerError("later", type="UNAVAILABLE"), "retry"),
        (nexusrpc.HandlerError("gone", type="NOT_FOUND"), "cancel_delivered"),
        (NotImplementedError(), "cancel_delivered"),
    ],
)
async def test_cancel_is_repeated_only_when_that_makes_sense(
    gateway: Gateway, client: HandlerClient, caller: Caller, raises: Exception, answer: str
) -> None:
    """A handler that cannot cancel now is asked again, one that will not is left alone."""
    async with running(client, PaymentsHandler(raises=raises)):
        stream = await gateway.stream()
        request, started = await started_operation(stream, caller)
        stream.send(tasks=[cancel_task(request, started.envelope, caller.cancel(request))])
        outcome = await stream.outcome()
    assert outcome.WhichOneof("outcome") == answer


async def test_cancel_is_rejected_when_it_is_not_the_callers(
    gateway: Gateway, client: HandlerClient, caller: Caller, stranger: Caller
) -> None:
    """Neither a stranger's cancel nor the token of another request reaches the handler."""
    handler = PaymentsHandler()
    async with running(client, handler):
        stream = await gateway.stream()
        request, started = await started_operation(stream, caller)
        other, _ = await started_operation(stream, caller)
        by_stranger = cancel_task(request, started.envelope, stranger.cancel(request))
        by_stranger.caller_namespace = "stranger"
        for task in (
            by_stranger,
            cancel_task(request, started.envelope, stranger.cancel(request)),
            cancel_task(other, started.envelope, caller.cancel(other)),
        ):
            stream.send(tasks=[task])
            assert (await stream.outcome()).rejection.code == "E2E_REJECTED"
    assert handler.canceled == []


async def test_handler_does_not_run_when_it_is_canceled_while_it_waits_for_a_thread(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """With every thread taken, a canceled task gives up its place in line."""
    handler = PaymentsHandler()
    first = caller.request("wait_in_thread", Charge("o", 1))
    second = caller.request("charge_in_thread", Charge("o", 2))
    with concurrent.futures.ThreadPoolExecutor(1) as one_thread:
        async with running(client, handler, executor=one_thread):
            stream = await gateway.stream()
            stream.send(tasks=[start_task(first), start_task(second)])
            await asyncio.to_thread(handler.thread_started.wait)
            for request in (second, first):
                stream.send(interrupts=[interrupt(start_task(request), caller.cancel(request))])
            outcomes = {
                outcome.task.operation_id: outcome for outcome in [await stream.outcome() for _ in "12"]
            }
    assert caller.open(outcomes[second.header.operation_id].envelope, second, Direction.CANCELED).digest
    assert handler.threads == []
