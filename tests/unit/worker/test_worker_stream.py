"""The Work stream: sessions that survive connections, outcomes that survive both."""

import asyncio
import logging

import grpc
import pytest
from tests.unit.worker.gateway import Gateway, start_task
from tests.unit.worker.parties import Caller, HandlerClient
from tests.unit.worker.running import running
from tests.unit.worker.services import Charge, PaymentsHandler

from isthmus.transport.backoff import Backoff
from isthmus.v1 import worker_service_pb2
from isthmus.wire.header import Direction
from isthmus.worker import Worker, WorkerRefusedError, link, outbox


def task_ref(task: worker_service_pb2.Task) -> worker_service_pb2.TaskRef:
    """Return what names a task."""
    return worker_service_pb2.TaskRef(
        caller_namespace=task.caller_namespace,
        operation_id=task.operation_id,
        attempt=task.attempt,
        kind=task.kind,
    )


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect and repeat at once."""
    at_once = Backoff(initial_seconds=0.001, maximum_seconds=0.001)
    monkeypatch.setattr(link, "RECONNECT", at_once)
    monkeypatch.setattr(outbox, "RESEND", at_once)


async def test_hello_says_who_polls_when_a_stream_opens(gateway: Gateway, client: HandlerClient) -> None:
    """Queue, version and identity are those of the worker; the session has 16 bytes."""
    async with running(client, PaymentsHandler(), version="v7", identity="me", max_concurrent_tasks=3):
        stream = await gateway.stream()
    assert (stream.hello.task_queue, stream.hello.version, stream.hello.identity) == ("payments", "v7", "me")
    assert len(stream.hello.session_id) == 16
    assert stream.credits == 3


@pytest.mark.parametrize("ending", ["fail", "end"])
async def test_outcome_is_sent_again_when_its_stream_ends_before_the_acknowledgement(
    gateway: Gateway, client: HandlerClient, caller: Caller, ending: str
) -> None:
    """The same bytes, under the same session, until the gateway has them."""
    handler = PaymentsHandler()
    async with running(client, handler):
        first = await gateway.stream()
        first.send(tasks=[start_task(caller.request("charge", Charge("o", 1)))])
        unacknowledged = await first.outcome(acknowledge=False)
        getattr(first, ending)()
        second = await gateway.stream()
        again = await second.outcome()
        assert again == unacknowledged
        assert second.hello == first.hello
        second.fail()
        third = await gateway.stream()
        third.send(tasks=[start_task(caller.request("charge", Charge("o", 2)))])
        following = await third.outcome()
    assert following.task.operation_id != again.task.operation_id
    assert handler.runs == 2


async def test_task_goes_on_when_its_stream_breaks(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A broken connection interrupts nobody; the outcome leaves on the next one, where its slot is taken."""
    handler = PaymentsHandler()
    async with running(client, handler, max_concurrent_tasks=2):
        first = await gateway.stream()
        first.send(tasks=[start_task(caller.request("wait", Charge("o", 1)))])
        await handler.started.wait()
        first.fail()
        second = await gateway.stream()
        assert second.credits == 1
        handler.release.set()
        outcome = await second.outcome()
    assert outcome.WhichOneof("outcome") == "envelope"


async def test_task_runs_once_when_it_is_delivered_again_while_it_runs(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A redelivery under a newer attempt renames the task: one run, one outcome, for the newer attempt."""
    handler = PaymentsHandler()
    request = caller.request("wait", Charge("o", 1))
    async with running(client, handler):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        await handler.started.wait()
        stream.send(tasks=[start_task(request), start_task(request, attempt=2)])
        probe = caller.request("charge", Charge("o", 1))
        stream.send(tasks=[start_task(probe)])
        await stream.outcome()
        handler.release.set()
        outcome = await stream.outcome()
    assert outcome.task.attempt == 2
    assert handler.runs == 2
    assert stream.credits == 100 + 4


async def test_outcome_answers_the_newer_attempt_when_its_task_is_delivered_again(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A task whose outcome is on its way is not run again: the envelope answers any attempt."""
    handler = PaymentsHandler()
    request = caller.request("charge", Charge("o", 1))
    async with running(client, handler):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        first = await stream.outcome(acknowledge=False)
        stream.send(tasks=[start_task(request, attempt=2)])
        second = await stream.outcome()
    assert (first.task.attempt, second.task.attempt) == (1, 2)
    assert first.envelope == second.envelope
    assert handler.runs == 1


async def test_stream_is_replaced_at_once_when_the_gateway_drains(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """The worker leaves the drained stream, takes what comes before it has left, and reconnects."""
    async with running(client, PaymentsHandler()):
        first = await gateway.stream()
        first.send(drain=True)
        first.send(tasks=[start_task(caller.request("charge", Charge("o", 1)))])
        second = await gateway.stream()
        await first.ended.wait()
        outcome = await second.outcome()
    assert second.hello.session_id == first.hello.session_id
    assert outcome.WhichOneof("outcome") == "envelope"


async def test_empty_frame_is_sent_when_there_is_nothing_else_to_say(
    gateway: Gateway, client: HandlerClient
) -> None:
    """An idle worker renews its lease every third of it."""
    async with running(client, PaymentsHandler()):
        stream = await gateway.stream(lease_ms=30)
        await stream.until("empty_frames")


async def test_what_runs_is_stated_when_a_worker_reconnects(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """The interrupt was lost with the first stream; on the second one the slot is free again."""
    handler = PaymentsHandler()
    task = start_task(caller.request("wait", Charge("o", 1)), attempt=3)
    async with running(client, handler, max_concurrent_tasks=1):
        first = await gateway.stream()
        first.send(tasks=[task])
        await handler.started.wait()
        assert not first.running
        first.fail()
        second = await gateway.stream(granted=False)
        await second.until("running")
        assert second.running == [[task_ref(task)]]
        second.send(interrupts=[worker_service_pb2.TaskInterrupt(task=task_ref(task))])
        await second.until("credits")
    assert second.no_outcome()


async def test_what_runs_for_long_is_stated_again_and_again(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """Once a lease, whatever else is said; what ended meanwhile is not."""
    handler = PaymentsHandler()
    long, short = (start_task(caller.request(name, Charge("o", 1))) for name in ("wait", "charge"))
    async with running(client, handler):
        stream = await gateway.stream(lease_ms=30)
        stream.send(tasks=[long, short])
        await stream.outcome()
        for _ in range(3):
            await stream.until("running")
            assert task_ref(long) in stream.running.pop()
        handler.release.set()
        await stream.outcome()


@pytest.mark.parametrize("code", [grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND])
async def test_outcome_is_dropped_when_it_comes_too_late(
    gateway: Gateway,
    client: HandlerClient,
    caller: Caller,
    code: grpc.StatusCode,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What has ended already, or is unknown, needs no outcome; the log says so."""
    with caplog.at_level(logging.INFO, logger="isthmus.worker"):
        async with running(client, PaymentsHandler()):
            stream = await gateway.stream()
            stream.send(tasks=[start_task(caller.request("charge", Charge("o", 1)))])
            stream.acknowledge(await stream.outcome(acknowledge=False), code)
    assert stream.no_outcome()
    assert "came too late and was dropped" in caplog.text


async def test_outcome_is_sent_again_when_the_gateway_could_not_record_it(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A passing error of the acknowledgement repeats the same bytes on the same stream."""
    async with running(client, PaymentsHandler()):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(caller.request("charge", Charge("o", 1)))])
        first = await stream.outcome(acknowledge=False)
        stream.acknowledge(first, grpc.StatusCode.UNAVAILABLE)
        assert await stream.outcome() == first


async def test_task_is_given_up_when_its_outcome_is_refused_for_good(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A living session would hold the lease forever, so a refused outcome is followed by a rejection."""
    async with running(client, PaymentsHandler()):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(caller.request("charge", Charge("o", 1)))])
        first = await stream.outcome(acknowledge=False)
        stream.acknowledge(first, grpc.StatusCode.PERMISSION_DENIED)
        second = await stream.outcome(acknowledge=False)
        stream.acknowledge(second, grpc.StatusCode.PERMISSION_DENIED)
    assert second.task == first.task
    assert second.rejection.code == "E2E_REJECTED"


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
async def test_worker_gives_up_when_its_first_contact_is_refused(
    gateway: Gateway, client: HandlerClient, code: grpc.StatusCode
) -> None:
    """A wrong credential is a mistake of the people who start the worker: they see it at once."""
    gateway.refuse_streams = code
    worker = Worker(client, task_queue="payments", nexus_service_handlers=[PaymentsHandler()])
    with pytest.raises(WorkerRefusedError, match="task queue 'payments'"):
        await asyncio.wait_for(worker.run(), 10)


async def test_worker_stays_when_it_is_refused_later(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """Once it has served, a refusal may pass: a rotated credential, a gateway that restarts."""
    async with running(client, PaymentsHandler()):
        (await gateway.stream()).fail(grpc.StatusCode.UNAUTHENTICATED)
        stream = await gateway.stream()
        stream.send(tasks=[start_task(caller.request("charge", Charge("o", 1)))])
        await stream.outcome()


async def test_credits_are_paid_back_when_the_gateway_delivers_what_the_session_holds(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """After a reconnect held tasks come without a credit; each costs one, even when no slot is free."""
    handler = PaymentsHandler()
    task = start_task(caller.request("wait", Charge("o", 1)))
    async with running(client, handler, max_concurrent_tasks=2):
        first = await gateway.stream()
        first.send(tasks=[task, start_task(caller.request("wait", Charge("o", 2)))])
        await handler.started.wait()
        first.fail()
        second = await gateway.stream(granted=False)
        second.send(tasks=[task])
        await second.until("credits")
        assert second.credits == 1
        handler.release.set()
        await second.outcome()
        await second.outcome()
    assert second.credits == 3
    assert handler.runs == 2


@pytest.mark.parametrize(
    ("code", "reason"),
    [(grpc.StatusCode.ABORTED, "KEY_RETIRED"), (grpc.StatusCode.FAILED_PRECONDITION, "SENDER_KEY_UNKNOWN")],
)
async def test_outcome_is_sealed_again_when_a_key_of_it_was_replaced(
    gateway: Gateway, client: HandlerClient, caller: Caller, code: grpc.StatusCode, reason: str
) -> None:
    """The handler does not run again: the same result travels in another envelope."""
    handler = PaymentsHandler()
    request = caller.request("charge", Charge("o", 1))
    async with running(client, handler):
        stream = await gateway.stream()
        stream.send(tasks=[start_task(request)])
        first = await stream.outcome(acknowledge=False)
        stream.acknowledge(first, code, reason=reason)
        second = await stream.outcome()
    opened = [caller.open(outcome.envelope, request, Direction.RESULT) for outcome in (first, second)]
    assert first.envelope != second.envelope
    assert opened[0].payload == opened[1].payload
    assert handler.runs == 1
