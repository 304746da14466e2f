"""Circuit breakers in a gateway: whose attempts stop, what goes on, and how it ends."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.integration.operation_calls import cancel, described, make_round_trip, start
from tests.integration.operation_gateway import Client, RunningGateway, Worker, running_gateway
from tests.integration.sealed_messages import (
    CALLER,
    ENDPOINT,
    HANDLER,
    cancel_of,
    outcome,
    queue_key,
    ref,
    request_header,
    retryable,
    sealed,
)
from tests.unit.gateway.manual_time import START

from isthmus.endpoints.endpoint import AllowRule, CircuitSettings, RetrySettings
from isthmus.gateway.commands import passing_tasks
from isthmus.gateway.core.circuit import EVERYBODY
from isthmus.gateway.ports import AuditFilter, Command, Store
from isthmus.v1 import audit_pb2, operation_pb2, worker_service_pb2
from isthmus.wire.header import Direction
from isthmus.wire.names import NamespaceName

OTHER = NamespaceName("stranger")
CIRCUIT_OPEN = operation_pb2.WAITING_CAUSE_CIRCUIT_OPEN
FAILURES = 4
# The next attempt is ready at once, but for a moment: what holds it up is the circuit.
RETRY = RetrySettings(initial_interval=timedelta(milliseconds=1), max_interval=timedelta(milliseconds=1))


async def put_endpoint(gateway: RunningGateway, failures: int = FAILURES) -> None:
    """Let two callers call."""
    await gateway.put_endpoint(
        allow=(AllowRule(namespace=CALLER), AllowRule(namespace=OTHER)),
        retry=RETRY,
        circuit=CircuitSettings(failures=failures, open_for=timedelta(seconds=10)),
    )


@pytest.fixture
async def gateway(operation_gateway: RunningGateway) -> RunningGateway:
    """A gateway whose endpoint has circuits that open after four failures."""
    await put_endpoint(operation_gateway)
    return operation_gateway


async def begin(client: Client, namespace: NamespaceName = CALLER) -> bytes:
    """Start an operation; return its id."""
    header = request_header(sender_namespace=namespace, principal=f"{namespace}/process")
    await start(client, sealed(header))
    return header.operation_id


async def fail(worker: Worker, times: int) -> worker_service_pb2.Task:
    """Fail so many attempts, one after the other; return the last task."""
    task = worker_service_pb2.Task()
    for _ in range(times):
        task = await worker.tasks.get()
        await worker.answer(retryable(task), grant=1)
    return task


async def settle(gateway: RunningGateway, **duration: float) -> None:
    """Move the time, and let the gateway do what is due."""
    gateway.advance(**duration)
    await gateway.circuits.step()


async def opened(gateway: RunningGateway) -> list[str]:
    """Return whose circuits are open, once what is under way is done."""
    await gateway.assembly.dispatcher.circuits.close()
    return sorted(circuit.line.caller for circuit in gateway.assembly.dispatcher.circuits.all())


async def events(gateway: RunningGateway) -> list[str]:
    """Return what the log says of circuits."""
    found = await gateway.store.read(
        lambda reader: reader.audit_events(
            AuditFilter(endpoint=ENDPOINT, types=frozenset({"circuit_opened", "circuit_closed"}))
        )
    )
    made = [audit_pb2.AuditEvent.FromString(record.event) for record in found]
    return [
        f"opened for {event.circuit_opened.caller_namespace}"
        if event.HasField("circuit_opened")
        else f"closed for {event.circuit_closed.caller_namespace}: {event.circuit_closed.cause}"
        for event in made
    ]


async def poison(gateway: RunningGateway, worker: Worker, caller: Client) -> bytes:
    """Let an operation of the caller fail until its circuit is open; return its id."""
    poisoned = await begin(caller)
    for _ in range(FAILURES):
        await fail(worker, 1)
        gateway.advance(milliseconds=2)
    assert await opened(gateway) == [CALLER]
    return poisoned


async def test_others_are_served_when_the_attempts_of_one_caller_fail(gateway: RunningGateway) -> None:
    """Its operations wait, old ones and new ones; they do not fail, and say why they wait."""
    caller, other, owner = gateway.client(CALLER), gateway.client(OTHER), gateway.client(HANDLER)
    worker = await Worker(owner).hello(grant=8)
    poisoned = await poison(gateway, worker, caller)
    fresh = await begin(caller)
    await begin(other, OTHER)
    served = await worker.tasks.get()
    assert served.caller_namespace == OTHER
    await worker.answer(outcome(served))
    for operation_id in (poisoned, fresh):
        shown = await described(caller, operation_id)
        assert shown.waiting == CIRCUIT_OPEN
        assert shown.waiting_until.ToDatetime(START.tzinfo) > gateway.clock.now() + timedelta(seconds=9)
        assert f"attempts of {CALLER} at endpoint {ENDPOINT} failed in a row" in shown.waiting_reason
        assert "the last one by UNAVAILABLE" in shown.waiting_reason
    assert worker.tasks.empty()
    assert await events(gateway) == [f"opened for {CALLER}"]


async def test_one_probe_goes_out_when_the_time_is_over(gateway: RunningGateway) -> None:
    """Its failure keeps the rest waiting for as long again, its answer lets all of them go."""
    caller, owner = gateway.client(CALLER), gateway.client(HANDLER)
    worker = await Worker(owner).hello(grant=8)
    await poison(gateway, worker, caller)
    for _ in range(3):
        await begin(caller)
    gateway.advance(seconds=11)
    probe = await worker.tasks.get()
    shown = await described(caller, await begin(caller))
    assert shown.waiting == CIRCUIT_OPEN
    assert "one is on its way" in shown.waiting_reason
    await worker.answer(retryable(probe))
    gateway.advance(seconds=9)
    assert worker.tasks.empty()
    gateway.advance(seconds=2)
    second = await worker.tasks.get()
    assert worker.tasks.empty()
    # A failure that the handler means is an answer, too: it is not down.
    await worker.answer(outcome(second, Direction.FAILURE))
    rest = [await worker.tasks.get() for _ in range(3)]
    assert len({task.operation_id for task in rest}) == 3
    assert await events(gateway) == [f"opened for {CALLER}", f"closed for {CALLER}: answered"]


async def test_probe_goes_out_when_its_time_comes_while_others_are_looked_for(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was passed by before that is looked at again at once."""
    caller, owner = gateway.client(CALLER), gateway.client(HANDLER)
    worker = await Worker(owner).hello(grant=8)
    await poison(gateway, worker, caller)
    await begin(caller)
    pump = gateway.assembly.dispatcher._served[queue_key()].pump
    while pump._job is not None:
        await make_round_trip(caller)
    transact = gateway.store.transact

    async def transact_later(command: Command[object]) -> object:
        monkeypatch.undo()
        gateway.clock.at += timedelta(seconds=11)
        return await transact(command)

    monkeypatch.setattr(gateway.store, "transact", transact_later)
    await worker.send(grant=1)
    await worker.tasks.get()
    assert worker.tasks.empty()


async def test_everybody_waits_when_the_attempts_of_several_callers_fail(gateway: RunningGateway) -> None:
    """A handler that is down gets one probe, not one for each caller."""
    caller, other, owner = gateway.client(CALLER), gateway.client(OTHER), gateway.client(HANDLER)
    worker = await Worker(owner).hello(grant=8)
    ids = [await begin(caller), await begin(other, OTHER)]
    for _ in range(FAILURES // 2):
        await fail(worker, 2)
        gateway.advance(milliseconds=2)
    assert await opened(gateway) == [EVERYBODY]
    for client, operation_id in zip((caller, other), ids, strict=True):
        assert "attempts of every caller" in (await described(client, operation_id)).waiting_reason
    gateway.advance(seconds=11)
    await worker.answer(outcome(await worker.tasks.get()))
    await worker.tasks.get()
    assert await opened(gateway) == []


async def test_nothing_waits_when_circuits_are_off(gateway: RunningGateway) -> None:
    """The owner may want the attempts; switching off closes what is open."""
    caller, owner = gateway.client(CALLER), gateway.client(HANDLER)
    worker = await Worker(owner).hello(grant=8)
    await poison(gateway, worker, caller)
    await put_endpoint(gateway, failures=0)
    await gateway.circuits.step()
    assert await events(gateway) == [f"opened for {CALLER}", f"closed for {CALLER}: switched_off"]
    for _ in range(3 * FAILURES):
        await fail(worker, 1)
        gateway.advance(milliseconds=2)
    assert await opened(gateway) == []


async def test_row_begins_anew_when_the_handler_answers(gateway: RunningGateway) -> None:
    """Whatever it answers, and if it only accepts."""
    caller, owner = gateway.client(CALLER), gateway.client(HANDLER)
    worker = await Worker(owner).hello(grant=8)
    await begin(caller)
    for direction in (Direction.RESULT, Direction.FAILURE, Direction.STARTED):
        for _ in range(FAILURES - 1):
            await fail(worker, 1)
            gateway.advance(milliseconds=2)
        task = await worker.tasks.get()
        await begin(caller)
        ack = await worker.answer(outcome(task, direction), grant=2)
        assert not ack.error
    assert await opened(gateway) == []


async def test_leases_lost_together_count_once(gateway: RunningGateway) -> None:
    """A worker that dies with many tasks is one failure; ten that die in a row are ten."""
    caller, owner = gateway.client(CALLER), gateway.client(HANDLER)
    for number in range(FAILURES):
        worker = await Worker(owner, bytes([number]) * 16).hello(grant=8)
        if number == 0:
            for _ in range(8):
                await begin(caller)
        for _ in range(8):
            await worker.tasks.get()
        assert await opened(gateway) == []
        await worker.disconnect()
        gateway.advance(seconds=31)
        await gateway.lost_sessions.step()
        gateway.advance(milliseconds=2)
    assert await opened(gateway) == [CALLER]


async def test_rejections_count_when_workers_cannot_open_requests(gateway: RunningGateway) -> None:
    """A caller whose keys are wrong does not keep the workers busy."""
    caller, owner = gateway.client(CALLER), gateway.client(HANDLER)
    worker = await Worker(owner).hello(grant=8)
    await begin(caller)
    for _ in range(FAILURES):
        task = await worker.tasks.get()
        rejection = worker_service_pb2.Rejection(code="E2E_REJECTED")
        await worker.answer(worker_service_pb2.TaskOutcome(task=ref(task), rejection=rejection), grant=1)
        gateway.advance(milliseconds=2)
    assert await opened(gateway) == [CALLER]


async def test_probe_decides_nothing_when_its_worker_returns_it(gateway: RunningGateway) -> None:
    """A worker that shuts down says nothing of the handler: the next attempt is a probe."""
    caller, owner = gateway.client(CALLER), gateway.client(HANDLER)
    worker = await Worker(owner).hello(grant=8)
    await poison(gateway, worker, caller)
    await begin(caller)
    gateway.advance(seconds=11)
    probe = await worker.tasks.get()
    returned = worker_service_pb2.TaskOutcome(task=ref(probe), returned=worker_service_pb2.TaskReturned())
    await worker.answer(returned, grant=1)
    await gateway.circuits.step()
    await worker.tasks.get()
    assert worker.tasks.empty()
    assert await opened(gateway) == [CALLER]


async def test_cancel_arrives_when_the_circuit_is_open(gateway: RunningGateway) -> None:
    """Nothing holds up a cancel: what it stops would run on."""
    caller, owner = gateway.client(CALLER), gateway.client(HANDLER)
    worker = await Worker(owner).hello(grant=8)
    envelope = sealed(request_header())
    await start(caller, envelope)
    task = await worker.tasks.get()
    await worker.answer(outcome(task, Direction.STARTED), grant=1)
    await poison(gateway, worker, caller)
    await cancel(caller, cancel_of(envelope))
    assert (await worker.tasks.get()).kind == worker_service_pb2.TASK_KIND_CANCEL


async def test_circuit_is_open_when_the_gateway_starts_again(new_store: Callable[[], Store]) -> None:
    """A restart does not forget it blindly: nothing goes out before its time, and then one probe."""
    async with running_gateway(new_store()) as first:
        await put_endpoint(first)
        worker = await Worker(first.client(HANDLER)).hello(grant=8)
        poisoned = await poison(first, worker, first.client(CALLER))
        await begin(first.client(CALLER))
    async with running_gateway(new_store(), clock=first.clock, issuer=first.issuer) as second:
        await put_endpoint(second)
        worker = await Worker(second.client(HANDLER), b"2" * 16).hello(grant=8)
        shown = await described(second.client(CALLER), poisoned)
        assert shown.waiting == CIRCUIT_OPEN
        assert worker.tasks.empty()
        second.advance(seconds=11)
        await worker.tasks.get()
        assert worker.tasks.empty()


async def test_circuit_is_seen_when_another_gateway_opened_it(gateway: RunningGateway) -> None:
    """What is in the store counts, whoever put it there; so does its closing."""
    caller, owner = gateway.client(CALLER), gateway.client(HANDLER)
    worker = await Worker(owner).hello(grant=8)
    await poison(gateway, worker, caller)
    circuits = gateway.assembly.dispatcher.circuits
    (circuit,) = circuits.all()
    # Without a signal, as if another process had done it.
    await gateway.store.transact(lambda uow: uow.remove_circuit(circuit.line))
    await gateway.circuits.step()
    await worker.tasks.get()
    await gateway.store.transact(lambda uow: uow.put_circuit(circuit))
    await gateway.circuits.step()
    assert (await described(caller, await begin(caller))).waiting == CIRCUIT_OPEN
    assert worker.tasks.empty()


async def test_circuit_closes_when_nobody_calls_for_an_hour(gateway: RunningGateway) -> None:
    """It was not tried: whoever calls next begins with a clean slate."""
    caller, owner = gateway.client(CALLER), gateway.client(HANDLER)
    worker = await Worker(owner).hello(grant=FAILURES)
    poisoned = await poison(gateway, worker, caller)
    await worker.disconnect()
    # In a store that gateways share, its session counts until its lease is over.
    gateway.advance(seconds=31)
    assert (await described(caller, poisoned)).waiting == operation_pb2.WAITING_CAUSE_NO_POLLER
    await settle(gateway, seconds=10 + 3599 - 31)
    assert await opened(gateway) == [CALLER]
    await settle(gateway, seconds=1)
    assert await events(gateway) == [f"opened for {CALLER}", f"closed for {CALLER}: unused"]


async def test_tasks_behind_a_long_line_go_out_when_that_is_held_up(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same caller's tasks of another endpoint, behind more held-up ones than one lease looks at."""
    monkeypatch.setattr(passing_tasks, "PAGE", 8)
    monkeypatch.setattr(passing_tasks, "MOST_LOOKED_AT", 20)
    await gateway.put_endpoint("second", retry=RETRY)
    caller, owner = gateway.client(CALLER), gateway.client(HANDLER)
    worker = await Worker(owner).hello(grant=8)
    await poison(gateway, worker, caller)
    for _ in range(70):
        await begin(caller)
    await worker.disconnect()
    header = request_header(endpoint="second")
    await start(caller, sealed(header))
    again = await Worker(owner, b"2" * 16).hello(grant=8)
    assert (await again.tasks.get()).operation_id == header.operation_id
    assert again.tasks.empty()
