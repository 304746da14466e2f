"""The unary twin: where streams break, or where it is chosen."""

import grpc
import pytest
from tests.unit.worker.gateway import Gateway, start_task, task_ref
from tests.unit.worker.parties import Caller, HandlerClient
from tests.unit.worker.running import running
from tests.unit.worker.services import Charge, PaymentsHandler

from isthmus.transport.backoff import Backoff
from isthmus.v1 import worker_service_pb2
from isthmus.wire.header import Direction
from isthmus.worker import link


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect at once."""
    monkeypatch.setattr(link, "RECONNECT", Backoff(initial_seconds=0.001, maximum_seconds=0.001))


async def next_outcome(gateway: Gateway) -> worker_service_pb2.TaskOutcome:
    """Return the next outcome that the worker sent."""
    while True:
        response = await gateway.responses.get()
        if response.outcomes:
            outcome: worker_service_pb2.TaskOutcome = response.outcomes[0]
            return outcome


async def test_task_is_answered_when_calls_are_chosen(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """Poll, run, respond, under one session."""
    request = caller.request("charge", Charge("o", 1))
    async with running(client, PaymentsHandler(), transport="unary", max_concurrent_tasks=5):
        poll = await gateway.polls.get()
        gateway.tasks.put_nowait(start_task(request))
        outcome = await next_outcome(gateway)
    assert poll.max_tasks == 5
    assert len(poll.worker.session_id) == 16
    assert caller.open(outcome.envelope, request, Direction.RESULT).digest


@pytest.mark.parametrize("code", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL])
async def test_worker_falls_back_to_calls_when_streams_do_not_work(
    gateway: Gateway, client: HandlerClient, caller: Caller, code: grpc.StatusCode
) -> None:
    """At once when the other side has no streams, after a few attempts when something breaks them."""
    gateway.refuse_streams = code
    request = caller.request("charge", Charge("o", 1))
    async with running(client, PaymentsHandler()):
        gateway.tasks.put_nowait(start_task(request))
        outcome = await next_outcome(gateway)
    assert caller.open(outcome.envelope, request, Direction.RESULT).digest


async def test_handler_is_canceled_when_an_answer_says_so(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """Interrupts come with the answer to a heartbeat."""
    request = caller.request("wait", Charge("o", 1))
    task = start_task(request)
    handler = PaymentsHandler()
    async with running(client, handler, transport="unary"):
        gateway.tasks.put_nowait(task)
        await handler.started.wait()
        gateway.interrupts.append(
            worker_service_pb2.TaskInterrupt(task=task_ref(task), cancel=caller.cancel(request))
        )
        outcome = await next_outcome(gateway)
    assert caller.open(outcome.envelope, request, Direction.CANCELED).digest


async def test_outcome_is_sent_again_when_an_answer_does_not_acknowledge_it(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A gateway that swallows an outcome delays it, for no longer than it lies."""
    gateway.unacknowledged = 2
    request = caller.request("charge", Charge("o", 1))
    handler = PaymentsHandler()
    async with running(client, handler, transport="unary"):
        gateway.tasks.put_nowait(start_task(request))
        outcomes = [await next_outcome(gateway) for _ in range(3)]
    assert len({outcome.SerializeToString(deterministic=True) for outcome in outcomes}) == 1
    assert caller.open(outcomes[0].envelope, request, Direction.RESULT).digest
    assert handler.runs == 1


async def test_poll_asks_for_what_may_have_been_lost_when_a_connection_begins(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """The first one, and the first one after a call failed; no other."""
    gateway.unacknowledged = 1
    async with running(client, PaymentsHandler(), transport="unary"):
        asked = [await gateway.polls.get()]
        for number in range(2):
            gateway.tasks.put_nowait(start_task(caller.request("charge", Charge("o", number))))
            asked.append(await gateway.polls.get())
        while not asked[-1].again:
            asked.append(await gateway.polls.get())
    assert [poll.again for poll in asked[:2]] == [True, False]
