"""Any commands, in any order, some of which raise: the store and a plain dictionary agree."""

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.contract.conftest import StoreFactory
from tests.contract.samples import (
    CALLER,
    ENDPOINT,
    NOW,
    QUEUE,
    SESSION,
    key,
    operation,
    record,
    seconds,
    started,
    task,
)

from isthmus.gateway.core.operation import Operation, OperationKey, State
from isthmus.gateway.ports import (
    AuditFilter,
    EnvelopeSlot,
    OperationFilter,
    Reader,
    Store,
    Task,
    TaskKind,
    UnitOfWork,
)


class AbandonedError(Exception):
    """What a command raises that is to change nothing."""


@dataclass(slots=True, kw_only=True)
class Model:
    """What the store should hold: a dictionary each."""

    operations: dict[OperationKey, Operation] = field(default_factory=dict)
    envelopes: dict[tuple[OperationKey, EnvelopeSlot], bytes] = field(default_factory=dict)
    tasks: dict[tuple[OperationKey, TaskKind], Task] = field(default_factory=dict)
    events: int = 0

    def copy(self) -> "Model":
        """Return a model that changes by itself."""
        return Model(
            operations=dict(self.operations),
            envelopes=dict(self.envelopes),
            tasks=dict(self.tasks),
            events=self.events,
        )


Step = Callable[[UnitOfWork, Model], None]
NUMBERS = st.integers(min_value=1, max_value=4)


def insert(number: int) -> Step:
    """Add an operation, or find that it is there."""

    def step(unit: UnitOfWork, model: Model) -> None:
        of = operation(number)
        assert unit.operation(of.key) == model.operations.get(of.key)
        if of.key not in model.operations:
            unit.insert_operation(of, b"%d" % number)
            model.operations[of.key] = of
            model.envelopes[of.key, EnvelopeSlot.REQUEST] = b"%d" % number

    return step


def update(number: int, state: State) -> Step:
    """Change the state of an operation."""

    def step(unit: UnitOfWork, model: Model) -> None:
        before = model.operations.get(key(number))
        if before is not None:
            after = structs.replace(before, state=state, attempt=before.attempt + 1)
            unit.update_operation(after)
            model.operations[key(number)] = after

    return step


def seal(number: int, slot: EnvelopeSlot, envelope: bytes) -> Step:
    """Write a sealed message."""

    def step(unit: UnitOfWork, model: Model) -> None:
        if key(number) in model.operations:
            assert unit.envelope(key(number), slot) == model.envelopes.get((key(number), slot))
            unit.put_envelope(key(number), slot, envelope)
            model.envelopes[key(number), slot] = envelope

    return step


def put_task(number: int, kind: TaskKind, delay: int, session_id: bytes | None) -> Step:
    """Write a task."""

    def step(unit: UnitOfWork, model: Model) -> None:
        if key(number) in model.operations:
            entry = task(number, kind=kind, ready_at=NOW + seconds(delay), session_id=session_id)
            unit.put_task(entry)
            model.tasks[entry.key, kind] = entry

    return step


def remove_task(number: int, kind: TaskKind) -> Step:
    """Remove a task."""

    def step(unit: UnitOfWork, model: Model) -> None:
        unit.remove_task(key(number), kind)
        model.tasks.pop((key(number), kind), None)

    return step


def append(number: int) -> Step:
    """Append to the audit log."""

    def step(unit: UnitOfWork, model: Model) -> None:
        unit.append_audit(record(started(operation(number))))
        model.events += 1

    return step


def scan(unit: UnitOfWork, model: Model) -> None:
    """Ask what has to look at tables."""
    ready = {
        entry.key: entry
        for entry in unit.ready_tasks(QUEUE, CALLER, NOW, 100)
        if entry.kind is TaskKind.START
    }
    waiting = [entry for entry in model.tasks.values() if entry.session_id is None and entry.ready_at <= NOW]
    assert ready == {entry.key: entry for entry in waiting if entry.kind is TaskKind.START}
    leased = [entry for entry in model.tasks.values() if entry.session_id == SESSION]
    assert len(unit.session_tasks(SESSION)) == len(leased)


def count(unit: UnitOfWork, model: Model) -> None:
    """Count what is open."""
    expected = sum(not of.state.is_terminal for of in model.operations.values())
    assert unit.count_open_operations(ENDPOINT) == expected
    assert unit.count_open_operations_of(ENDPOINT, CALLER) == expected


def look(unit: UnitOfWork, model: Model) -> None:
    """Read everything by its key."""
    for number in range(1, 5):
        assert unit.operation(key(number)) == model.operations.get(key(number))
        for kind in TaskKind:
            assert unit.task(key(number), kind) == model.tasks.get((key(number), kind))


STEPS = st.one_of(
    st.builds(insert, NUMBERS),
    st.builds(update, NUMBERS, st.sampled_from(State)),
    st.builds(seal, NUMBERS, st.sampled_from(EnvelopeSlot), st.binary(max_size=8)),
    st.builds(
        put_task,
        NUMBERS,
        st.sampled_from(TaskKind),
        st.sampled_from([-1, 0, 1]),
        st.sampled_from([None, SESSION]),
    ),
    st.builds(remove_task, NUMBERS, st.sampled_from(TaskKind)),
    st.builds(append, NUMBERS),
    st.just(scan),
    st.just(count),
    st.just(look),
)
COMMANDS = st.lists(st.tuples(st.lists(STEPS, max_size=8), st.booleans()), max_size=10)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(groups=st.lists(COMMANDS, max_size=3))
def test_store_agrees_with_a_model_when_commands_share_commits(
    new_database: Callable[[], StoreFactory], groups: list[list[tuple[list[Step], bool]]]
) -> None:
    """Commands of one list are submitted together; those that are marked raise at their end."""
    asyncio.run(run_against_model(new_database()(), groups))


async def run_against_model(store: Store, groups: list[list[tuple[list[Step], bool]]]) -> None:
    """Run the groups on an empty store, and compare after each."""
    await store.open()
    try:
        model = Model()
        for commands in groups:
            model = await run_together(store, commands, model)
            await compare(store, model)
    finally:
        await store.close()


async def run_together(store: Store, commands: list[tuple[list[Step], bool]], model: Model) -> Model:
    """Submit commands at once; return the model after those that did not raise."""
    current = model

    def running(steps: list[Step], *, is_abandoned: bool) -> Callable[[UnitOfWork], None]:
        def command(unit: UnitOfWork) -> None:
            nonlocal current
            attempted = current.copy()
            for step in steps:
                step(unit, attempted)
            if is_abandoned:
                raise AbandonedError
            current = attempted

        return command

    results = await asyncio.gather(
        *(store.transact(running(steps, is_abandoned=raises)) for steps, raises in commands),
        return_exceptions=True,
    )
    for (_, raises), result in zip(commands, results, strict=True):
        if isinstance(result, BaseException) and not isinstance(result, AbandonedError):
            raise result
        assert raises == isinstance(result, AbandonedError)
    return current


async def compare(store: Store, model: Model) -> None:
    """Compare what is committed, as commands and as readers see it."""

    def command(unit: UnitOfWork) -> None:
        look(unit, model)
        scan(unit, model)
        count(unit, model)

    await store.transact(command)
    assert await store.read(stored) == dataclasses.replace(model, tasks={})


def stored(reader: Reader) -> Model:
    """Return what a snapshot holds, but for tasks: readers see none."""
    listed = reader.list_operations(OperationFilter(limit=100))
    operations = {entry.operation.key: entry.operation for entry in listed}
    envelopes = {
        (of, slot): envelope
        for of in operations
        for slot in EnvelopeSlot
        if (envelope := reader.envelope(of, slot)) is not None
    }
    return Model(
        operations=operations, envelopes=envelopes, events=len(reader.audit_events(AuditFilter(limit=10_000)))
    )
