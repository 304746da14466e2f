"""The audit log: order, exact bytes, filters."""

import pytest
from tests.contract.commands import appending, inserting, starting
from tests.contract.samples import (
    CALLER,
    ENDPOINT,
    HANDLER,
    NOW,
    ended,
    key,
    operation,
    record,
    seconds,
    started,
    succeeded,
)

from isthmus.gateway.audit.encode import encode_audit_record
from isthmus.gateway.core.audit_record import (
    GATEWAY,
    Actor,
    AuditRecord,
    AuthenticationFailed,
    EndpointChanged,
    NamespaceCreated,
    RequestDenied,
)
from isthmus.gateway.ports import AuditFilter, Store, UnitOfWork

ADMIN = Actor(namespace="platform", principal="platform/admin")
# In the order in which they are appended: positions 1, 2, …
RECORDS = [
    record(NamespaceCreated(namespace=CALLER), NOW, ADMIN),
    record(EndpointChanged(endpoint=ENDPOINT, namespace=HANDLER, change="created"), NOW + seconds(1), ADMIN),
    record(started(operation(1)), NOW + seconds(2)),
    record(ended(succeeded(operation(1))), NOW + seconds(3), Actor(namespace=HANDLER, principal="b/w")),
    record(
        RequestDenied(
            action="start",
            rule="default-deny",
            endpoint=ENDPOINT,
            handler=HANDLER,
            operation_id=key(2).operation_id,
        ),
        NOW + seconds(4),
    ),
    # A clock that runs behind.
    record(started(operation(3, handler=CALLER, endpoint="own")), NOW + seconds(1)),
    record(
        AuthenticationFailed(reason="token_expired", source="10.0.0.1", count=3), NOW + seconds(6), GATEWAY
    ),
]


@pytest.fixture
async def log(store: Store) -> Store:
    """A store with the records above."""
    await store.transact(inserting(operation(1), operation(3, handler=CALLER, endpoint="own")))
    for entry in RECORDS:
        await store.transact(appending(entry))
    return store


async def positions(store: Store, wanted: AuditFilter) -> list[int]:
    """Return the positions on a page."""
    page = await store.read(lambda reader: reader.audit_events(wanted))
    return [event.position for event in page]


async def test_events_are_the_encoded_records_when_they_are_read(log: Store) -> None:
    """Exactly the bytes, in the order of the commits."""
    page = await log.read(lambda reader: reader.audit_events(AuditFilter()))
    assert [event.position for event in page] == list(range(1, 8))
    assert [event.event for event in page] == [encode_audit_record(entry) for entry in RECORDS]
    assert await log.read(lambda reader: reader.last_audit_position()) == 7


async def test_log_is_empty_when_nothing_happened(store: Store) -> None:
    """Its last position is 0."""
    assert await store.read(lambda reader: reader.last_audit_position()) == 0
    assert await positions(store, AuditFilter()) == []


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (AuditFilter(namespace="platform"), [1, 2]),
        (AuditFilter(namespace=CALLER), [1, 3, 4, 5, 6]),
        (AuditFilter(namespace=HANDLER), [2, 3, 4, 5]),
        (AuditFilter(namespace="nobody"), []),
        (AuditFilter(endpoint=ENDPOINT), [2, 3, 4, 5]),
        (AuditFilter(endpoint="own"), [6]),
        (AuditFilter(endpoint=ENDPOINT, namespace="platform"), [2]),
        (AuditFilter(operation_id=key(1).operation_id), [3, 4]),
        (AuditFilter(operation_id=key(2).operation_id), [5]),
        (AuditFilter(operation_id=key(9).operation_id), []),
        (AuditFilter(operation_id=key(1).operation_id, namespace=HANDLER), [3, 4]),
        (AuditFilter(operation_id=key(1).operation_id, namespace="platform"), []),
        (AuditFilter(operation_id=key(1).operation_id, endpoint="own"), []),
        (AuditFilter(types=frozenset({"operation_started"})), [3, 6]),
        (AuditFilter(types=frozenset({"operation_started", "request_denied"}), namespace=HANDLER), [3, 5]),
        (AuditFilter(since=NOW + seconds(2)), [3, 4, 5, 6, 7]),
        (AuditFilter(until=NOW + seconds(2)), [1, 2]),
        (AuditFilter(since=NOW + seconds(1), until=NOW + seconds(4)), [2, 3, 4]),
        (AuditFilter(since=NOW + seconds(4), until=NOW + seconds(6)), [5, 6]),
        (AuditFilter(since=NOW + seconds(7)), []),
        (AuditFilter(until=NOW), []),
        (AuditFilter(until=NOW + seconds(7)), [1, 2, 3, 4, 5, 6, 7]),
        (AuditFilter(since=NOW + seconds(2), namespace=CALLER), [3, 4, 5, 6]),
        (AuditFilter(after=3), [4, 5, 6, 7]),
        (AuditFilter(after=3, namespace=CALLER), [4, 5, 6]),
        (AuditFilter(after=7), []),
        (AuditFilter(limit=2), [1, 2]),
        (AuditFilter(limit=2, namespace=CALLER, after=1), [3, 4]),
    ],
)
async def test_page_has_the_events_when_they_pass_the_filter(
    log: Store, wanted: AuditFilter, expected: list[int]
) -> None:
    """A namespace finds what it called, handles or did; times are those of the log."""
    assert await positions(log, wanted) == expected


async def test_events_of_an_operation_are_found_when_callers_share_its_id(store: Store) -> None:
    """Ids are unique in a namespace only; both are found, and the namespace tells them apart."""
    mine, theirs = operation(1), operation(1, key=key(1, "ai"))
    await store.transact(starting(mine, theirs))
    of = key(1).operation_id
    assert await positions(store, AuditFilter(operation_id=of)) == [1, 2]
    assert await positions(store, AuditFilter(operation_id=of, namespace="ai")) == [2]


async def test_event_is_found_when_it_was_appended_before_its_operation(store: Store) -> None:
    """The order of writes within a command does not matter."""

    def command(unit: UnitOfWork) -> None:
        unit.append_audit(record(started(operation(1))))
        unit.insert_operation(operation(1), b"")

    await store.transact(command)
    assert await positions(store, AuditFilter(operation_id=key(1).operation_id)) == [1]


async def test_event_is_found_when_its_operation_was_not_read(store: Store) -> None:
    """Nor does it matter whether the command knows the operation."""
    await store.transact(lambda unit: unit.insert_operation(operation(1), b""))
    await store.transact(appending(record(started(operation(1)))))
    assert await positions(store, AuditFilter(operation_id=key(1).operation_id)) == [1]


async def test_refused_event_is_found_when_the_operation_starts_later(store: Store) -> None:
    """A denial names an operation that does not exist; the start that succeeds does not hide it."""
    denied = RequestDenied(action="start", rule="default-deny", operation_id=key(1).operation_id)
    await store.transact(appending(record(denied)))
    await store.transact(starting(operation(1)))
    assert await positions(store, AuditFilter(operation_id=key(1).operation_id)) == [1, 2]


async def test_log_continues_when_the_clock_runs_backwards(store: Store) -> None:
    """The time of the log stands still until the clock has caught up; nothing falls out of a range."""
    times = [10, 5, 20, 15, 30]
    for second in times:
        entry: AuditRecord = record(NamespaceCreated(namespace=f"n{second}"), NOW + seconds(second))
        await store.transact(appending(entry))
    assert await positions(store, AuditFilter(since=NOW + seconds(10), until=NOW + seconds(20))) == [1, 2]
    assert await positions(store, AuditFilter(since=NOW + seconds(20), until=NOW + seconds(30))) == [3, 4]
