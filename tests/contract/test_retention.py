"""Retention: what stays of operations, what it costs, and what it leaves alone."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from tests.contract.commands import completing, starting
from tests.contract.conftest import StoreFactory
from tests.contract.samples import (
    CALLER,
    ENDPOINT,
    HANDLER,
    NOW,
    complete,
    ended,
    endpoint,
    key,
    operation,
    record,
    seconds,
    start,
    started,
    succeeded,
)

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.core.operation import State
from isthmus.gateway.ports import (
    AuditFilter,
    Command,
    EnvelopeSlot,
    OperationFilter,
    Reader,
    Retired,
    Store,
    StoredAuditEvent,
    TaskKind,
    UnitOfWork,
)

MANY = 10_000
NOTHING = timedelta(0)


def retiring(until: timedelta = NOTHING, *, name: str = ENDPOINT, limit: int = MANY) -> Command[Retired]:
    """Retire what closed until so long after NOW."""
    return lambda unit: unit.retire_operations(name, closed_until=NOW + until, limit=limit)


def closed_at(number: int, after: timedelta, **changes: object) -> Command[None]:
    """Write an operation that ended so long after NOW, with the time of the log."""

    def command(unit: UnitOfWork) -> None:
        of = operation(number, **changes)
        unit.insert_operation(of, b"sealed request")
        unit.append_audit(record(started(of)))
        after_it = succeeded(of, NOW + after)
        unit.update_operation(after_it)
        unit.put_envelope(of.key, EnvelopeSlot.OUTCOME, b"sealed outcome")
        unit.append_audit(record(ended(after_it), at=NOW + after))

    return command


async def test_identity_stays_when_an_operation_is_retired(store: Store) -> None:
    """Who, what, how it ended and digests; no message, and no operation."""
    await store.transact(starting(operation(1)))
    await store.transact(completing(key(1)))
    assert await store.transact(retiring()) == Retired(operations=1, more=False)
    assert await store.read(lambda reader: reader.operation(key(1))) is None
    messages = await store.read(lambda reader: [reader.envelope(key(1), slot) for slot in EnvelopeSlot])
    assert set(messages) == {None}
    for identity in (
        await store.read(lambda reader: reader.identity(key(1))),
        await store.read(lambda reader: reader.identity_handled(HANDLER, key(1).operation_id)),
        await store.transact(lambda unit: unit.identity(key(1))),
    ):
        assert identity is not None
        assert (identity.key, identity.handler, identity.endpoint) == (key(1), HANDLER, ENDPOINT)
        assert (identity.service, identity.operation) == ("Invoices", "create")
        assert (identity.state, identity.closed_at) == (State.SUCCEEDED, NOW)
        assert identity.request_digest == operation(1).request_digest
        assert identity.outcome_digest == b"o" * 32


async def test_nobody_else_has_the_identity_when_an_operation_is_retired(store: Store) -> None:
    """An id means something within the namespace that made it, and to its handler."""
    await store.transact(starting(operation(1)))
    await store.transact(completing(key(1)))
    await store.transact(retiring())
    assert await store.read(lambda reader: reader.identity(key(1, caller="other"))) is None
    assert await store.read(lambda reader: reader.identity_handled("other", key(1).operation_id)) is None
    assert await store.transact(lambda unit: unit.identity(key(2))) is None


async def test_operations_stay_when_they_are_open_or_ended_later(store: Store) -> None:
    """What ended at the moment itself is due; a microsecond later it is not."""
    await store.transact(closed_at(1, timedelta(0)))
    await store.transact(starting(operation(2)))
    await store.transact(closed_at(3, timedelta(microseconds=1)))
    assert (await store.transact(retiring())).operations == 1
    listed = await store.read(lambda reader: reader.list_operations(OperationFilter(caller=CALLER)))
    assert [entry.operation.key for entry in listed] == [key(3), key(2)]


async def test_operation_is_retired_when_it_started_early_and_ended_late(store: Store) -> None:
    """The end counts: what was passed while it was open is found when its own end is due."""
    await store.transact(starting(operation(1)))
    await store.transact(closed_at(2, seconds(1)))
    assert (await store.transact(retiring(seconds(1)))).operations == 1
    await store.transact(closed_at(3, seconds(5)))

    def end_late(unit: UnitOfWork) -> None:
        after = succeeded(operation(1), NOW + seconds(9))
        unit.update_operation(after)
        unit.append_audit(record(ended(after), at=NOW + seconds(9)))

    await store.transact(end_late)
    assert (await store.transact(retiring(seconds(8)))).operations == 1
    assert (await store.transact(retiring(seconds(9)))).operations == 1
    assert await store.read(lambda reader: reader.identity(key(1))) is not None


async def test_other_endpoints_are_left_alone_when_one_is_gone_through(store: Store) -> None:
    """Each has a retention of its own."""
    await store.transact(closed_at(1, timedelta(0)))
    await store.transact(closed_at(2, timedelta(0), endpoint="reports"))
    assert (await store.transact(retiring(name="reports"))).operations == 1
    assert await store.read(lambda reader: reader.operation(key(1))) is not None
    assert await store.read(lambda reader: reader.operation(key(2))) is None


async def test_work_is_bounded_when_much_is_due(store: Store) -> None:
    """A step looks at so many records, goes on where it stopped, and says when it is done."""
    for number in range(1, 6):
        await store.transact(closed_at(number, timedelta(0)))
    steps = [await store.transact(retiring(limit=4)) for _ in range(3)]
    assert steps == [
        Retired(operations=2, more=True),
        Retired(operations=2, more=True),
        Retired(operations=1, more=False),
    ]
    assert await store.transact(retiring(limit=4)) == Retired(operations=0, more=False)


async def test_store_says_whether_something_is_due(store: Store) -> None:
    """Without asking the writer; what was gone through is not due again."""

    async def is_due(until: timedelta) -> bool:
        return await store.read(lambda reader: reader.is_retention_due(ENDPOINT, NOW + until))

    assert not await is_due(timedelta(0))
    await store.transact(closed_at(1, seconds(1)))
    assert not await is_due(-seconds(1))
    assert await is_due(seconds(1))
    await store.transact(retiring(seconds(1)))
    assert not await is_due(seconds(1))


async def test_command_changes_nothing_when_it_raises_after_retiring(store: Store) -> None:
    """Operation, messages and mark are as before, for it and for those that share its commit."""
    await store.transact(starting(operation(1)))
    await store.transact(completing(key(1)))

    def failing(unit: UnitOfWork) -> None:
        start(unit, operation(2))
        assert unit.retire_operations(ENDPOINT, closed_until=NOW, limit=MANY).operations == 1
        assert unit.operation(key(1)) is None
        assert unit.identity(key(1)) is not None
        raise ValueError

    outcomes = await asyncio.gather(
        store.transact(failing), store.transact(starting(operation(3))), return_exceptions=True
    )
    assert isinstance(outcomes[0], ValueError)
    assert await store.transact(lambda unit: unit.operation(key(1))) == succeeded(operation(1))
    assert await store.transact(lambda unit: unit.identity(key(1))) is None
    assert await store.read(lambda reader: reader.operation(key(2))) is None
    assert await store.read(lambda reader: reader.operation(key(3))) is not None
    assert (await store.transact(retiring())).operations == 1


async def test_later_command_finds_the_identity_when_it_shares_the_commit(store: Store) -> None:
    """Nothing that the group knew of the operation survives its retirement."""
    await store.transact(starting(operation(1)))
    await store.transact(completing(key(1)))
    _, found, known = await asyncio.gather(
        store.transact(retiring()),
        store.transact(lambda unit: unit.operation(key(1)), reads=(key(1),)),
        store.transact(lambda unit: unit.identity(key(1)), reads=(key(1),)),
    )
    assert found is None
    assert known is not None


async def test_changes_of_the_same_command_count_when_it_retires(store: Store) -> None:
    """What ended in this very transaction can be retired in it."""

    def command(unit: UnitOfWork) -> Retired:
        start(unit, operation(1))
        complete(unit, key(1))
        return unit.retire_operations(ENDPOINT, closed_until=NOW, limit=MANY)

    assert (await store.transact(command)).operations == 1
    assert await store.transact(lambda unit: unit.identity(key(1))) is not None


async def test_events_are_found_by_id_when_the_operation_is_retired(store: Store) -> None:
    """The audit trail stays whole: for the operation, its caller, its handler and its endpoint."""
    await store.transact(starting(operation(1)))
    await store.transact(completing(key(1)))
    wanted = [
        AuditFilter(operation_id=key(1).operation_id),
        AuditFilter(operation_id=key(1).operation_id, namespace=CALLER),
        AuditFilter(namespace=HANDLER),
        AuditFilter(endpoint=ENDPOINT),
    ]

    def pages(reader: Reader) -> list[Sequence[StoredAuditEvent]]:
        return [reader.audit_events(page) for page in wanted]

    before = await store.read(pages)
    await store.transact(retiring())
    after = await store.read(pages)
    assert after == before
    assert [len(page) for page in after] == [2, 2, 2, 2]


async def test_place_is_not_given_again_when_the_newest_operation_is_retired(
    store_factory: StoreFactory,
) -> None:
    """Not even after a restart: audit records are filed under places."""
    store = store_factory()
    await store.open()
    await store.transact(starting(operation(1)))
    await store.transact(completing(key(1)))
    await store.transact(retiring())
    await store.close()
    again = store_factory()
    await again.open()
    await again.transact(starting(operation(2)))
    events = await again.read(
        lambda reader: reader.audit_events(AuditFilter(operation_id=key(2).operation_id))
    )
    assert len(events) == 1
    assert await again.transact(lambda unit: unit.identity(key(1))) is not None
    await again.close()


async def test_identities_are_forgotten_when_their_time_is_over(store: Store) -> None:
    """The oldest first, as many as asked; then the id is as good as new."""
    for number in range(1, 4):
        await store.transact(closed_at(number, seconds(number)))
    await store.transact(retiring(seconds(9)))

    def forgetting(until: timedelta, limit: int) -> Command[int]:
        return lambda unit: unit.forget_identities(closed_until=NOW + until, limit=limit)

    assert await store.transact(forgetting(seconds(2), 1)) == 1
    assert await store.transact(forgetting(seconds(2), 9)) == 1
    assert await store.transact(forgetting(seconds(2), 9)) == 0
    remembered = await store.read(
        lambda reader: [reader.identity(key(number)) is not None for number in range(1, 4)]
    )
    assert remembered == [False, False, True]
    await store.transact(starting(operation(1)))
    assert await store.transact(lambda unit: unit.task(key(1), TaskKind.START)) is not None


async def test_token_finds_nothing_when_the_operation_is_retired(store: Store) -> None:
    """It is forgotten with the messages."""
    await store.transact(starting(operation(1)))
    await store.transact(lambda unit: unit.put_operation_token(key(1), b"k" * 32))
    await store.transact(completing(key(1)))
    await store.transact(retiring())
    assert not await store.read(lambda reader: reader.operations_with_token(HANDLER, b"k" * 32))


@pytest.mark.parametrize("page", [1, 2, 100])
async def test_every_endpoint_is_listed_when_some_are_deleted(store: Store, page: int) -> None:
    """What was started at a deleted endpoint is kept for its time, too."""

    def command(unit: UnitOfWork) -> None:
        unit.put_endpoint(endpoint("a"))
        unit.put_endpoint(endpoint("b", deleted_at=NOW))
        unit.put_endpoint(endpoint("c", retention=timedelta(days=365)))

    await store.transact(command)

    def every_endpoint(reader: Reader) -> list[Endpoint]:
        found: list[Endpoint] = []
        while chunk := reader.list_every_endpoint(found[-1].name if found else "", page):
            found += chunk
        return found

    found = await store.read(every_endpoint)
    assert [entry.name for entry in found] == ["a", "b", "c"]
    assert found[2].retention == timedelta(days=365)
