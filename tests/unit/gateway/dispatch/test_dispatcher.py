"""What happens between lease and delivery when something goes wrong, on a real store."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.contract.lost_answers import LostAnswers
from tests.contract.samples import endpoint, session
from tests.integration.sealed_messages import CALLER, HANDLER, queue_key, request_header, sealed
from tests.unit.gateway.manual_time import START, ManualClock, ManualTimers

from isthmus.endpoints.versions import VersionSettings
from isthmus.gateway.commands.lease_tasks import LeasedTask
from isthmus.gateway.commands.start_operation import StartOperation
from isthmus.gateway.core.audit_record import Actor
from isthmus.gateway.core.errors import AlreadyExistsError, InDoubtError, UnavailableError
from isthmus.gateway.core.operation import Operation, OperationKey, State
from isthmus.gateway.dispatch.dispatcher import SAFETY_INTERVAL, Dispatcher
from isthmus.gateway.dispatch.leases import Leases
from isthmus.gateway.dispatch.live_session import LiveSession
from isthmus.gateway.ports import TaskInterrupted
from isthmus.gateway.store.postgresql import PostgresqlStore
from isthmus.gateway.store.sqlite import SqliteStore
from isthmus.wire.envelope import parse_envelope


class MemoryOutlet:
    """Gathers what a session gets."""

    def __init__(self) -> None:
        self.tasks: asyncio.Queue[LeasedTask] = asyncio.Queue()
        self.interrupts: list[TaskInterrupted] = []
        self.is_closed = False

    def deliver(self, tasks: Sequence[LeasedTask]) -> None:
        """Gather tasks."""
        for leased in tasks:
            self.tasks.put_nowait(leased)

    def interrupt(self, interrupt: TaskInterrupted) -> None:
        """Gather an interrupt."""
        self.interrupts.append(interrupt)

    def close(self) -> None:
        """Note the end."""
        self.is_closed = True


class World:
    """A dispatcher on a store, on the test's time."""

    def __init__(self, store: SqliteStore | PostgresqlStore) -> None:
        self.store = store
        self.clock = ManualClock()
        self.timers = ManualTimers(self.clock)
        self.dispatcher = Dispatcher(store, clock=self.clock, timers=self.timers)
        self.leases = Leases(store, clock=self.clock)
        store.subscribe(self.dispatcher.on_signals)

    async def connect(self, number: int, grant: int) -> tuple[LiveSession, MemoryOutlet]:
        """Connect a session and let the pump look for older tasks."""
        outlet = MemoryOutlet()
        opened = session(
            bytes([number]) * 16, queue=queue_key(), principal="billing/w", expires_at=self.leases.expiry()
        )
        await self.leases.open(opened)
        live = LiveSession(opened, outlet)
        self.dispatcher.connect(live)
        self.dispatcher.grant(live, grant)
        await self.looked()
        return live, outlet

    async def looked(self) -> None:
        """Return when no pump looks for older tasks: credits are set aside meanwhile."""
        pump = self.dispatcher._served[queue_key()].pump
        while pump._job is not None and not pump._job.done():
            await pump._job

    def start_of(self, header_changes: dict[str, object] | None = None) -> StartOperation:
        """Return a start."""
        header = request_header(**(header_changes or {}))
        envelope = sealed(header)
        return StartOperation(
            header=header,
            envelope=envelope,
            digest=parse_envelope(envelope).digest,
            # Without a ramp, which would keep some operations from these workers, by their ids.
            endpoint=endpoint(
                namespace=HANDLER, task_queue=queue_key().task_queue, versions=VersionSettings()
            ),
            actor=Actor(namespace=CALLER, principal="data/process"),
            rule="allow",
        )

    async def operation(self, start: StartOperation) -> Operation:
        """Return an operation."""
        key = OperationKey(caller=CALLER, operation_id=start.header.operation_id)
        found = await self.store.read(lambda reader: reader.operation(key))
        assert found is not None
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A dispatcher on an empty store."""
    store = SqliteStore(tmp_path / "isthmus.db")
    await store.open()
    made = World(store)
    yield made
    await made.dispatcher.close()
    await store.close()


async def test_credit_comes_back_when_start_fails(world: World) -> None:
    """A refused start used nothing up."""
    live, outlet = await world.connect(1, 1)
    start = world.start_of()
    await world.dispatcher.start(start)
    world.dispatcher.grant(live, 1)
    again = sealed(start.header, b"other")
    with pytest.raises(AlreadyExistsError):
        await world.dispatcher.start(
            replace(start, envelope=again, digest=b"d" * 32, reuse=type(start.reuse).REJECT)
        )
    await world.looked()
    assert (live.credits, live.reserved) == (1, 0)
    assert outlet.tasks.qsize() == 1


async def test_credit_comes_back_when_store_is_closed(world: World) -> None:
    """A rollback gives the credit back."""
    live, _ = await world.connect(1, 1)
    await world.store.close()
    with pytest.raises(UnavailableError):
        await world.dispatcher.start(world.start_of())
    assert (live.credits, live.reserved) == (1, 0)


async def test_task_is_delivered_when_caller_gives_up_meanwhile(world: World) -> None:
    """Cancelling the caller stops neither commit nor delivery."""
    _, outlet = await world.connect(1, 1)
    starting = asyncio.create_task(world.dispatcher.start(world.start_of()))
    await asyncio.wait({starting}, timeout=0)
    starting.cancel()
    assert (await outlet.tasks.get()).task.attempt == 1


async def test_task_goes_elsewhere_when_session_leaves_before_delivery(world: World) -> None:
    """Leased to a session that is gone: given back, without counting an attempt."""
    live, outlet = await world.connect(1, 1)
    start = world.start_of()
    starting = asyncio.create_task(world.dispatcher.start(start))
    await asyncio.wait({starting}, timeout=0)
    world.dispatcher.disconnect(live)
    await starting
    await world.dispatcher.close()
    assert outlet.tasks.empty()
    after = await world.operation(start)
    assert (after.state, after.attempts_spent) == (State.SCHEDULED, 0)
    _, other = await world.connect(2, 1)
    assert (await other.tasks.get()).operation.key == after.key


async def test_task_follows_session_when_it_reconnects_before_delivery(world: World) -> None:
    """The newer connection of the session gets what was leased over the older one."""
    live, _ = await world.connect(1, 1)
    starting = asyncio.create_task(world.dispatcher.start(world.start_of()))
    await asyncio.wait({starting}, timeout=0)
    newer = MemoryOutlet()
    world.dispatcher.connect(LiveSession(live.session, newer))
    await starting
    assert newer.tasks.qsize() == 1


async def test_operation_waits_when_lease_runs_out_before_commit(world: World) -> None:
    """The command looks at the time itself: nothing is leased to a session that may be lost already."""
    await world.connect(1, 1)
    start = world.start_of()
    starting = asyncio.create_task(world.dispatcher.start(start))
    world.clock.at += timedelta(seconds=30)
    result = await starting
    assert result.leased is None
    assert result.operation.state is State.SCHEDULED


async def test_connection_is_closed_when_session_is_lost(world: World) -> None:
    """Its tasks belong to nobody: the worker has to come back."""
    live, outlet = await world.connect(1, 1)
    world.dispatcher.drop([live.session])
    assert outlet.is_closed
    assert live.closed
    assert world.dispatcher.pollers(queue_key()) == 0


async def test_pump_looks_again_when_safety_interval_is_over(world: World) -> None:
    """A task whose wake-up was lost goes out after the interval."""
    _, outlet = await world.connect(1, 1)
    world.store._listeners.clear()
    served = world.dispatcher._served[queue_key()]
    served.queue.backlog = True
    start = world.start_of()
    result = await world.dispatcher.start(start)
    assert result.operation.state is State.SCHEDULED
    served.queue.backlog = False
    world.timers.advance(SAFETY_INTERVAL)
    assert (await outlet.tasks.get()).operation.key.operation_id == start.header.operation_id


async def test_session_is_renewed_once_when_a_third_of_its_lease_is_over(world: World) -> None:
    """One durable renewal for many frames, and only when it is due."""
    live, _ = await world.connect(1, 0)
    for seconds, renewals in ((9, 0), (1, 1)):
        world.clock.at += timedelta(seconds=seconds)
        for _ in range(3):
            world.leases.touch(live)
        assert len(world.leases._jobs) == renewals
    await asyncio.wait(world.leases._jobs)
    assert live.session.expires_at == START + timedelta(seconds=40)


async def test_session_connects_anew_when_nobody_knows_whether_it_has_a_task(
    postgresql_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a start or from the backlog: else it would keep what never reached it, as long as it lives."""
    answers = LostAnswers(postgresql_dsn, monkeypatch)
    store = PostgresqlStore(postgresql_dsn)
    await store.open()
    world = World(store)
    live, outlet = await world.connect(1, 1)
    start = world.start_of()
    answers.is_next_lost = True
    with pytest.raises(InDoubtError):
        await world.dispatcher.start(start)
    assert (outlet.is_closed, outlet.tasks.qsize()) == (True, 0)
    (held,) = await world.leases.open(live.session)
    assert held.operation.key.operation_id == start.header.operation_id
    world.dispatcher.disconnect(live)

    waiting = world.start_of({"operation_id": bytes([9]) * 16})
    await world.dispatcher.start(waiting)
    live, outlet = await world.connect(2, 0)
    world.dispatcher.interrupts.open(live.session.session_id)
    answers.is_next_lost = True
    world.dispatcher.grant(live, 1)
    with pytest.raises(InDoubtError):
        await world.looked()
    assert (outlet.is_closed, outlet.tasks.qsize()) == (True, 0)
    assert not world.dispatcher.interrupts.open(live.session.session_id)
    (held,) = await world.leases.open(live.session)
    assert held.operation.key.operation_id == waiting.header.operation_id
    await world.dispatcher.close()
    await store.close()
