"""Circuits that are open, and tasks of which some are passed by."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.contract.commands import inserting, putting_tasks
from tests.contract.conftest import StoreFactory
from tests.contract.samples import (
    CALLER,
    ENDPOINT,
    HANDLER,
    NOW,
    QUEUE,
    SESSION,
    key,
    operation,
    seconds,
    task,
)

from isthmus.gateway.core.circuit import EVERYBODY, Circuit, Line, Probe
from isthmus.gateway.core.operation import Operation
from isthmus.gateway.ports import Store, Task, TaskKind, UnitOfWork

LINE = Line(endpoint=ENDPOINT, task_queue="default/x", caller=CALLER)
CIRCUIT = Circuit(
    line=LINE,
    handler=HANDLER,
    since=NOW,
    until=NOW + timedelta(seconds=30, microseconds=1),
    error="UNAVAILABLE",
    probe=Probe(key=key(7, "other"), attempt=3),
)
OF_ALL = replace(CIRCUIT, line=replace(LINE, caller=EVERYBODY), probe=None)


async def put(store: Store, *circuits: Circuit) -> None:
    """Write circuits."""

    def command(unit: UnitOfWork) -> None:
        for circuit in circuits:
            unit.put_circuit(circuit)

    await store.transact(command)


async def test_circuits_are_equal_when_the_store_is_opened_again(store_factory: StoreFactory) -> None:
    """What is open stays open; the one of everybody is another one."""
    first = store_factory()
    await first.open()
    await put(first, CIRCUIT, OF_ALL)
    await first.close()
    second = store_factory()
    await second.open()
    assert await second.transact(lambda unit: unit.circuit(LINE)) == CIRCUIT
    assert await second.read(lambda reader: reader.circuit(LINE)) == CIRCUIT
    assert await second.read(lambda reader: reader.circuit(replace(LINE, caller="nobody"))) is None
    assert set(await second.read(lambda reader: reader.circuits(10))) == {CIRCUIT, OF_ALL}
    assert len(await second.read(lambda reader: reader.circuits(1))) == 1
    await second.close()


async def test_circuit_is_what_the_last_word_says_when_it_changes(store: Store) -> None:
    """Replaced, removed, put again: within a command, and after it."""
    await put(store, CIRCUIT)
    without_probe = replace(CIRCUIT, probe=None, error="INTERNAL")

    def command(unit: UnitOfWork) -> list[Circuit | None]:
        seen = [unit.circuit(LINE)]
        unit.remove_circuit(LINE)
        unit.remove_circuit(OF_ALL.line)
        seen.append(unit.circuit(LINE))
        unit.put_circuit(without_probe)
        return [*seen, unit.circuit(LINE)]

    assert await store.transact(command) == [CIRCUIT, None, without_probe]
    assert list(await store.read(lambda reader: reader.circuits(10))) == [without_probe]
    await store.transact(lambda unit: unit.remove_circuit(LINE))
    assert await store.transact(lambda unit: unit.circuit(LINE)) is None


async def test_circuit_stays_when_the_command_raises(store: Store) -> None:
    """All of a command, or nothing."""

    def command(unit: UnitOfWork) -> None:
        unit.put_circuit(CIRCUIT)
        # A scan, so that the database has seen the write before.
        unit.ready_tasks(QUEUE, CALLER, NOW, 1)
        raise LookupError

    with pytest.raises(LookupError):
        await store.transact(command)
    assert await store.transact(lambda unit: unit.circuit(LINE)) is None


async def ahead(store: Store, after: Task | None, limit: int = 10) -> list[tuple[Task, Operation]]:
    """Return what is ahead."""
    return list(await store.transact(lambda unit: unit.tasks_ahead(QUEUE, CALLER, NOW, limit, after=after)))


async def test_tasks_go_on_behind_one_when_it_is_passed_by(store: Store) -> None:
    """In the order of ready tasks, each with its operation; equal moments do not hide each other."""
    operations = [operation(number) for number in range(1, 7)]
    await store.transact(inserting(*operations, operation(7, key=key(7, "other"))))
    tasks = [
        task(1, ready_at=NOW - seconds(3)),
        task(2, ready_at=NOW - seconds(3)),
        task(3, ready_at=NOW - seconds(2)),
        task(4, kind=TaskKind.CANCEL, ready_at=NOW),
        task(5, ready_at=NOW + seconds(1)),
        task(6, session_id=SESSION),
        task(7, key=key(7, "other")),
    ]
    await store.transact(putting_tasks(*tasks))
    expected = list(zip(tasks[:4], operations[:4], strict=True))
    assert await ahead(store, None) == expected
    assert await ahead(store, None, limit=2) == expected[:2]
    for number in range(4):
        assert await ahead(store, tasks[number]) == expected[number + 1 :]


async def test_tasks_go_on_behind_one_when_that_has_gone(store: Store) -> None:
    """Leased meanwhile, it still says from where on to look."""
    await store.transact(inserting(*(operation(number) for number in range(1, 4))))
    first, second, third = (task(number, ready_at=NOW - seconds(9 - number)) for number in range(1, 4))
    await store.transact(putting_tasks(first, replace(second, session_id=SESSION), third))
    assert [found for found, _ in await ahead(store, second)] == [third]


async def test_next_ready_task_is_a_later_one_when_earlier_ones_are_passed_by(store: Store) -> None:
    """What is ready and does not go out wakes nobody."""
    await store.transact(inserting(operation(1), operation(2)))
    await store.transact(putting_tasks(task(1, ready_at=NOW), task(2, ready_at=NOW + seconds(1))))
    assert await store.read(lambda reader: reader.next_ready_at(QUEUE)) == NOW
    assert await store.read(lambda reader: reader.next_ready_at(QUEUE, after=NOW)) == NOW + seconds(1)
    assert await store.read(lambda reader: reader.next_ready_at(QUEUE, after=NOW + seconds(1))) is None
