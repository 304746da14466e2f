"""The feed of a namespace: cursors that stay, records in the order of their commits, none skipped."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec import structs
from tests.contract.commands import completing, starting
from tests.contract.conftest import StoreFactory
from tests.contract.samples import CALLER, ENDPOINT, HANDLER, NOW, key, operation, record, seconds, started

from isthmus.gateway.core.feed import Cursor, FeedKind, PublishedEvent
from isthmus.gateway.ports import Command, FeedRecord, Reader, Store, UnitOfWork
from isthmus.v1 import audit_pb2
from isthmus.wire.names import NamespaceName

MANY = 10_000


def cursor(name: str = "nightly", namespace: str = CALLER, **changes: object) -> Cursor:
    """Return a cursor with a value in every field."""
    made = Cursor(
        namespace=NamespaceName(namespace),
        name=name,
        endpoint=ENDPOINT,
        kinds=(FeedKind.SUCCEEDED, FeedKind.CANCELED),
        position=7,
        created_at=NOW,
        acknowledged_at=NOW + seconds(1),
    )
    return structs.replace(made, **changes)


def putting(*cursors: Cursor) -> Command[None]:
    """Write cursors."""

    def command(unit: UnitOfWork) -> None:
        for entry in cursors:
            unit.put_cursor(entry)

    return command


async def records(
    store: Store, *, namespace: str = CALLER, after: int = 0, limit: int = MANY
) -> Sequence[FeedRecord]:
    """Return what a feed is read from."""
    return await store.read(lambda reader: reader.feed_records(namespace, after, limit))


def ends_of(found: Sequence[FeedRecord]) -> list[bytes]:
    """Return the ids of the operations whose end is told."""
    events = [audit_pb2.AuditEvent.FromString(entry.event) for entry in found if entry.event is not None]
    return [event.operation_ended.operation.operation_id for event in events]


async def test_cursor_is_returned_as_it_was_put_when_it_is_read(
    store: Store, store_factory: StoreFactory
) -> None:
    """Every field, empty ones too, in the command itself, afterwards, and after a restart."""
    full, empty = cursor(), cursor("a/b.c_d-e", endpoint="", kinds=(), position=0, acknowledged_at=None)

    def command(unit: UnitOfWork) -> tuple[Cursor | None, Cursor | None]:
        unit.put_cursor(full)
        unit.put_cursor(empty)
        return unit.cursor(CALLER, full.name), unit.cursor(CALLER, empty.name)

    assert await store.transact(command) == (full, empty)
    assert await store.transact(lambda unit: unit.cursor(CALLER, full.name)) == full
    await store.close()
    reopened = store_factory()
    await reopened.open()
    try:
        assert await reopened.read(lambda reader: reader.cursor(CALLER, empty.name)) == empty
        assert await reopened.transact(lambda unit: unit.cursor(CALLER, full.name)) == full
    finally:
        await reopened.close()


async def test_cursor_is_replaced_when_it_is_put_again(store: Store) -> None:
    """There is one of a name in a namespace, and another one in another namespace."""
    await store.transact(putting(cursor(), cursor(namespace=HANDLER, position=1)))
    moved = cursor(position=9)
    await store.transact(putting(moved))
    assert await store.read(lambda reader: reader.list_cursors(CALLER, MANY)) == [moved]
    assert await store.read(lambda reader: reader.cursor(HANDLER, "nightly")) == cursor(
        namespace=HANDLER, position=1
    )


async def test_cursor_is_gone_when_it_was_removed(store: Store) -> None:
    """For the command that removes it, and for good; another one may take its name."""
    await store.transact(putting(cursor("a"), cursor("b"), cursor("c", namespace=HANDLER)))

    def command(unit: UnitOfWork) -> tuple[Cursor | None, int]:
        unit.remove_cursor(CALLER, "a")
        unit.remove_cursor(CALLER, "never there")
        return unit.cursor(CALLER, "a"), unit.count_cursors(CALLER)

    assert await store.transact(command) == (None, 1)
    assert await store.read(lambda reader: reader.cursor(CALLER, "a")) is None
    again = cursor("a", position=0)
    await store.transact(putting(again))
    assert await store.transact(lambda unit: unit.count_cursors(CALLER)) == 2
    assert await store.read(lambda reader: reader.cursor(CALLER, "a")) == again


async def test_cursors_are_listed_by_name_when_there_are_many(store: Store) -> None:
    """Those of the namespace only, up to the limit."""
    await store.transact(putting(*(cursor(name) for name in "cab"), cursor("a", namespace=HANDLER)))
    found = await store.read(lambda reader: reader.list_cursors(CALLER, MANY))
    assert [entry.name for entry in found] == ["a", "b", "c"]
    assert [c.name for c in await store.read(lambda reader: reader.list_cursors(CALLER, 2))] == ["a", "b"]


async def test_nothing_of_a_cursor_changes_when_its_command_raises(store: Store) -> None:
    """All or nothing, as with everything else."""
    await store.transact(putting(cursor()))

    def command(unit: UnitOfWork) -> None:
        unit.put_cursor(cursor(position=99))
        unit.count_cursors(CALLER)
        unit.remove_cursor(CALLER, "nightly")
        raise ValueError("changed its mind")

    with pytest.raises(ValueError, match="mind"):
        await store.transact(command)
    assert await store.transact(lambda unit: unit.cursor(CALLER, "nightly")) == cursor()


async def test_records_tell_the_ends_of_what_a_namespace_called_when_they_are_read(store: Store) -> None:
    """In the order of the commits; what else it was the caller in is passed, what others called is not."""
    mine, other = [operation(1), operation(2)], operation(3, key=key(3, HANDLER), handler=CALLER)
    await store.transact(starting(*mine, other))
    await store.transact(completing(mine[1].key))
    await store.transact(completing(other.key))
    await store.transact(completing(mine[0].key))
    found = await records(store)
    assert ends_of(found) == [mine[1].key.operation_id, mine[0].key.operation_id]
    assert [entry.event is None for entry in found] == [True, True, False, False]
    assert [entry.position for entry in found] == sorted({entry.position for entry in found})
    assert ends_of(await records(store, namespace=HANDLER)) == [other.key.operation_id]
    assert await records(store, namespace="data-2") == []


async def test_records_go_on_behind_a_position_when_they_are_read_in_parts(store: Store) -> None:
    """Each of them once, however large the parts are."""
    await store.transact(starting(*map(operation, range(10))))
    await store.transact(completing(*map(key, range(10))))
    whole = await records(store)
    read: list[FeedRecord] = []
    while part := await records(store, after=read[-1].position if read else 0, limit=3):
        assert len(part) <= 3
        read += part
    assert read == whole
    assert len(ends_of(read)) == 10


async def test_record_stays_when_its_operation_is_retired(store: Store) -> None:
    """A consumer that was away for long learns what ended, though its result is gone."""
    await store.transact(starting(operation(1)))
    await store.transact(completing(key(1)))
    before = await records(store)
    await store.transact(
        lambda unit: unit.retire_operations(ENDPOINT, closed_until=NOW + timedelta(days=1), limit=MANY)
    )
    assert await store.read(lambda reader: reader.operation(key(1))) is None
    assert await records(store) == before


async def test_no_record_is_skipped_when_it_is_read_while_others_commit(store: Store) -> None:
    """Whoever goes on behind the last one that it saw sees every one, once: none appears before another."""
    count = 200
    await store.transact(starting(*map(operation, range(count))))
    start_of_ends = (await records(store))[-1].position
    seen: list[FeedRecord] = []

    async def follow() -> None:
        after = start_of_ends
        while len(ends_of(seen)) < count:
            found = await records(store, after=after, limit=7)
            seen.extend(found)
            after = found[-1].position if found else after
            await asyncio.sleep(0)

    async def complete(number: int) -> None:
        # Some commands write more than others before they end an operation.
        def command(unit: UnitOfWork) -> None:
            for _ in range(number % 5):
                unit.append_audit(record(started(operation(number))))
            completing(key(number))(unit)

        await store.transact(command)

    await asyncio.gather(follow(), *(complete(number) for number in range(count)))
    assert sorted(ends_of(seen)) == [key(number).operation_id for number in range(count)]
    assert [entry.position for entry in seen] == sorted({entry.position for entry in seen})


async def test_end_of_the_log_is_not_before_a_record_when_it_is_read(store: Store) -> None:
    """A cursor that begins at the end of the log misses nothing that is committed later."""
    await store.transact(starting(operation(1)))

    def both(reader: Reader) -> tuple[int, int]:
        return reader.last_audit_position(), reader.feed_records(CALLER, 0, MANY)[-1].position

    last, newest = await store.read(both)
    assert last >= newest
    await store.transact(completing(key(1)))
    assert ends_of(await records(store, after=last)) == [key(1).operation_id]


def event(number: int = 1, **changes: object) -> PublishedEvent:
    """Return an event for the caller that is kept for an hour."""
    made = PublishedEvent(
        reader=CALLER,
        publisher=HANDLER,
        event_id=number.to_bytes(16),
        envelope=b"sealed event %d" % number,
        expires_at=NOW + timedelta(hours=1),
    )
    return structs.replace(made, **changes)


def inserting_events(*events: PublishedEvent) -> Command[None]:
    """Write events."""

    def command(unit: UnitOfWork) -> None:
        for entry in events:
            unit.put_event(entry)

    return command


async def kept(store: Store, reader: str, publisher: str, event_id: bytes) -> PublishedEvent | None:
    """Return an event, if it is there."""
    return await store.read(lambda at: at.published_event(reader, publisher, event_id))


async def test_event_is_returned_to_its_reader_when_it_was_inserted(
    store: Store, store_factory: StoreFactory
) -> None:
    """In the command itself, afterwards and after a restart; not under another reader, publisher or id."""

    def command(unit: UnitOfWork) -> PublishedEvent | None:
        unit.put_event(event())
        return unit.published_event(CALLER, HANDLER, event().event_id)

    assert await store.transact(command) == event()
    await store.close()
    reopened = store_factory()
    await reopened.open()
    try:
        assert await kept(reopened, CALLER, HANDLER, event().event_id) == event()
        assert await kept(reopened, HANDLER, HANDLER, event().event_id) is None
        assert await kept(reopened, CALLER, CALLER, event().event_id) is None
        assert await kept(reopened, CALLER, HANDLER, event(2).event_id) is None
    finally:
        await reopened.close()


async def test_events_are_forgotten_when_their_time_is_over(store: Store) -> None:
    """Longest ago first, so many at a time, in a command that sees what it forgot itself."""
    expiring = [event(number, expires_at=NOW + seconds(number)) for number in range(1, 6)]
    await store.transact(inserting_events(*reversed(expiring)))

    def command(unit: UnitOfWork) -> tuple[int, int, bool]:
        first = unit.forget_events(until=NOW + seconds(4), limit=3)
        second = unit.forget_events(until=NOW + seconds(4), limit=3)
        return first, second, unit.published_event(CALLER, HANDLER, expiring[3].event_id) is None

    assert await store.transact(command) == (3, 1, True)
    left = [await kept(store, CALLER, HANDLER, entry.event_id) for entry in expiring]
    assert left == [None, None, None, None, expiring[4]]
