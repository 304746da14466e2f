"""Task queues and worker sessions."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import structs
from tests.contract.commands import inserting, putting_sessions, putting_tasks, starting
from tests.contract.samples import (
    CALLER,
    HANDLER,
    NOW,
    QUEUE,
    SESSION,
    key,
    operation,
    seconds,
    session,
    task,
)

from isthmus.gateway.core.errors import NotFoundError
from isthmus.gateway.ports import QueueKey, Store, Task, TaskKind, UnitOfWork

OTHER_QUEUE = QueueKey(namespace=HANDLER, task_queue="slow")


async def insert_operations(store: Store, count: int) -> None:
    """Add operations without tasks."""
    await store.transact(inserting(*map(operation, range(1, count + 1))))


async def put(store: Store, *tasks: Task) -> None:
    """Write tasks, each in a command of its own."""
    for entry in tasks:
        await store.transact(putting_tasks(entry))


async def test_task_is_equal_when_it_is_read_back(store: Store) -> None:
    """Both kinds live beside each other, and every field survives."""
    await insert_operations(store, 1)
    waiting = task(1, ready_at=NOW + seconds(0.000_001), attempt=3)
    leased = task(1, kind=TaskKind.CANCEL, session_id=SESSION, queue=OTHER_QUEUE)
    signal = task(1, kind=TaskKind.SIGNAL, attempt=7, session_id=SESSION)
    await put(store, waiting, leased)
    assert await store.transact(lambda unit: unit.task(key(1), TaskKind.START)) == waiting
    assert await store.transact(lambda unit: unit.task(key(1), TaskKind.CANCEL)) == leased
    await put(store, signal)
    assert await store.transact(lambda unit: unit.task(key(1), TaskKind.SIGNAL)) == signal
    assert await store.transact(lambda unit: unit.task(key(1), TaskKind.CANCEL)) == leased
    assert signal in await store.transact(lambda unit: unit.session_tasks(SESSION))


async def test_task_is_replaced_when_it_is_put_again(store: Store) -> None:
    """A lease takes it from the queue, a retry gives it back."""
    await insert_operations(store, 1)
    leased = task(1, session_id=SESSION, attempt=1)
    again = task(1, attempt=1, ready_at=NOW + seconds(9))
    await put(store, task(1), leased)
    assert await store.transact(lambda unit: unit.ready_tasks(QUEUE, CALLER, NOW, 10)) == []
    assert await store.transact(lambda unit: unit.session_tasks(SESSION)) == [leased]
    assert await store.read(lambda reader: reader.next_ready_at(QUEUE)) is None
    await put(store, again)
    assert await store.transact(lambda unit: unit.session_tasks(SESSION)) == []
    assert await store.read(lambda reader: reader.next_ready_at(QUEUE)) == again.ready_at


async def test_task_is_gone_when_it_was_removed(store: Store) -> None:
    """Removing it again is no error; the other kind stays."""
    await insert_operations(store, 1)
    await put(store, task(1), task(1, kind=TaskKind.CANCEL))

    def remove(unit: UnitOfWork) -> Task | None:
        unit.remove_task(key(1), TaskKind.START)
        unit.remove_task(key(1), TaskKind.START)
        return unit.task(key(1), TaskKind.START)

    assert await store.transact(remove) is None
    assert await store.transact(lambda unit: unit.task(key(1), TaskKind.START)) is None
    assert await store.transact(lambda unit: unit.task(key(1), TaskKind.CANCEL)) is not None
    assert await store.transact(lambda unit: unit.task(key(2), TaskKind.START)) is None


async def test_task_comes_back_when_it_is_put_after_its_removal(store: Store) -> None:
    """The last word of a command counts."""
    await insert_operations(store, 1)
    await put(store, task(1))

    def command(unit: UnitOfWork) -> None:
        unit.remove_task(key(1), TaskKind.START)
        unit.put_task(task(1, attempt=5))

    await store.transact(command)
    assert await store.transact(lambda unit: unit.ready_tasks(QUEUE, CALLER, NOW, 10)) == [task(1, attempt=5)]


async def test_put_is_refused_when_the_operation_does_not_exist(store: Store) -> None:
    """A task belongs to its operation."""
    with pytest.raises(NotFoundError):
        await store.transact(putting_tasks(task(1)))


async def test_ready_tasks_come_in_order_when_they_became_ready(store: Store) -> None:
    """Only those of the queue that nobody leased and that are ready; at most as many as asked for."""
    await insert_operations(store, 7)
    last = task(1, ready_at=NOW)
    first = task(2, ready_at=NOW - seconds(2))
    second = task(3, ready_at=NOW - seconds(1))
    await put(
        store,
        last,
        first,
        second,
        task(4, ready_at=NOW + seconds(0.000_001)),
        task(5, session_id=SESSION, ready_at=NOW - seconds(9)),
        task(6, queue=OTHER_QUEUE, ready_at=NOW - seconds(9)),
        task(7, queue=structs.replace(QUEUE, namespace=key(1).caller), ready_at=NOW - seconds(9)),
    )
    assert await store.transact(lambda unit: unit.ready_tasks(QUEUE, CALLER, NOW, 10)) == [
        first,
        second,
        last,
    ]
    assert await store.transact(lambda unit: unit.ready_tasks(QUEUE, CALLER, NOW, 2)) == [first, second]
    assert await store.transact(lambda unit: unit.ready_tasks(QUEUE, CALLER, NOW - seconds(3), 10)) == []
    assert await store.read(lambda reader: reader.next_ready_at(QUEUE)) == first.ready_at
    assert await store.read(lambda reader: reader.has_ready_tasks(QUEUE, first.ready_at)) is True
    assert await store.read(lambda reader: reader.has_ready_tasks(QUEUE, NOW - seconds(3))) is False


async def callers_in_line(store: Store, *, after: str = "", limit: int = 10) -> Sequence[str]:
    """Ask who has tasks that can go out now."""
    return await store.transact(lambda unit: unit.callers_in_line(QUEUE, NOW, after=after, limit=limit))


async def put_tasks_of(store: Store, callers: Sequence[str], **changes: Any) -> None:
    """Give each caller an operation with a task."""
    for caller in callers:
        await store.transact(inserting(operation(1, key=key(1, caller))))
        await put(store, task(1, key=key(1, caller), **changes))


async def test_tasks_of_others_are_left_out_when_a_caller_is_asked_for(store: Store) -> None:
    """Every caller has a line of its own in a queue."""
    await put_tasks_of(store, ["audit", "data", "web"])
    ready = await store.transact(lambda unit: unit.ready_tasks(QUEUE, "data", NOW, 10))
    assert [entry.key.caller for entry in ready] == ["data"]


async def test_callers_go_round_when_they_are_asked_for_after_one_of_them(store: Store) -> None:
    """By name, from behind the given one, which is the last; each once, however much waits."""
    await insert_operations(store, 3)
    await put(store, task(1), task(2), task(3))
    await put_tasks_of(store, ["web", "audit", "data-2"])
    assert await callers_in_line(store) == ["audit", "data", "data-2", "web"]
    assert await callers_in_line(store, after="data") == ["data-2", "web", "audit", "data"]
    assert await callers_in_line(store, after="b") == ["data", "data-2", "web", "audit"]
    assert await callers_in_line(store, after="web") == ["audit", "data", "data-2", "web"]
    assert await callers_in_line(store, after="zulu") == ["audit", "data", "data-2", "web"]
    assert await callers_in_line(store, after="data", limit=3) == ["data-2", "web", "audit"]
    assert await callers_in_line(store, after="data", limit=1) == ["data-2"]
    assert await callers_in_line(store, limit=0) == []


async def test_caller_is_not_in_line_when_none_of_its_tasks_can_go_out(store: Store) -> None:
    """Tasks that are leased, not ready, or of another queue do not count, and hide nobody behind them."""
    await put_tasks_of(store, ["backing-off"], ready_at=NOW + seconds(1))
    await put_tasks_of(store, ["leased"], session_id=SESSION)
    await put_tasks_of(store, ["elsewhere"], queue=OTHER_QUEUE)
    await put_tasks_of(store, ["a", "z"])
    assert await callers_in_line(store) == ["a", "z"]
    assert await callers_in_line(store, after="a") == ["z", "a"]
    assert await callers_in_line(store, limit=1) == ["a"]
    assert await callers_in_line(store, after="b", limit=1) == ["z"]


async def test_oldest_operation_goes_first_when_tasks_became_ready_together(store: Store) -> None:
    """The order of starts breaks ties."""
    await store.transact(starting(*map(operation, (5, 3, 9, 1))))
    ready = await store.transact(lambda unit: unit.ready_tasks(QUEUE, CALLER, NOW, 10))
    assert [entry.key for entry in ready] == [key(5), key(3), key(9), key(1)]


async def test_queue_is_empty_when_nothing_waits(store: Store) -> None:
    """An unknown queue is an empty one."""
    assert await store.read(lambda reader: reader.next_ready_at(QUEUE)) is None
    assert await store.read(lambda reader: reader.has_ready_tasks(QUEUE, NOW)) is False
    assert await store.transact(lambda unit: unit.ready_tasks(QUEUE, CALLER, NOW, 10)) == []


async def test_session_is_equal_when_it_is_read_back(store: Store) -> None:
    """A renewal replaces it."""
    await store.transact(putting_sessions(session()))
    assert await store.transact(lambda unit: unit.worker_session(SESSION)) == session()
    renewed = session(expires_at=NOW + seconds(60), version="2")

    def renew(unit: UnitOfWork) -> object:
        unit.put_worker_session(renewed)
        return unit.worker_session(SESSION)

    assert await store.transact(renew) == renewed
    assert await store.transact(lambda unit: unit.worker_session(SESSION)) == renewed
    assert await store.read(lambda reader: reader.worker_session(SESSION)) == renewed
    assert await store.read(lambda reader: reader.worker_session(b"t" * 16)) is None
    assert await store.transact(lambda unit: unit.worker_session(b"t" * 16)) is None


async def test_session_is_gone_when_it_was_removed(store: Store) -> None:
    """Its tasks stay until somebody gives them back."""
    await insert_operations(store, 1)
    leased = task(1, session_id=SESSION)
    await put(store, leased)
    await store.transact(putting_sessions(session()))

    def remove(unit: UnitOfWork) -> object:
        unit.remove_worker_session(SESSION)
        unit.remove_worker_session(SESSION)
        return unit.worker_session(SESSION)

    assert await store.transact(remove) is None
    assert await store.transact(lambda unit: unit.worker_session(SESSION)) is None
    assert await store.transact(lambda unit: unit.session_tasks(SESSION)) == [leased]


async def test_expired_sessions_come_longest_ago_first_when_their_lease_ran_out(store: Store) -> None:
    """Never early; at most as many as asked for."""
    sessions = [session(bytes([number]) * 16, expires_at=NOW + seconds(number)) for number in (3, 1, 2)]
    await store.transact(putting_sessions(*sessions))
    third, first, second = sessions
    at = NOW + seconds(2)
    assert await store.transact(lambda unit: unit.expired_sessions(at, 10)) == [first, second]
    assert await store.transact(lambda unit: unit.expired_sessions(at, 1)) == [first]
    assert await store.transact(lambda unit: unit.expired_sessions(NOW, 10)) == []
    late = NOW + seconds(1000)
    assert await store.transact(lambda unit: unit.expired_sessions(late, 10)) == [first, second, third]
