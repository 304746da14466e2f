"""Operations and their sealed messages."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from msgspec import structs
from tests.contract.commands import completing, inserting, starting
from tests.contract.samples import (
    CALLER,
    ENDPOINT,
    HANDLER,
    NOW,
    QUEUE,
    complete,
    key,
    operation,
    seconds,
    start,
    succeeded,
)

from isthmus.gateway.core.errors import AlreadyExistsError, NotFoundError, PreconditionError
from isthmus.gateway.core.operation import AttemptEnd, Operation, OperationKey, State, Statement
from isthmus.gateway.ports import (
    EnvelopeSlot,
    ListedOperation,
    OperationFilter,
    Reader,
    Store,
    TaskKind,
    UnitOfWork,
)
from isthmus.wire.header import Direction

FULL = operation(
    1,
    fingerprint=b"f" * 32,
    schedule_to_start_at=NOW + seconds(10),
    start_to_close_timeout=timedelta(days=2, seconds=3, microseconds=4),
    state=State.FAILED,
    attempt=4,
    attempts_spent=3,
    session_id=b"s" * 16,
    first_dispatched_at=NOW + timedelta(microseconds=1),
    next_attempt_at=NOW + timedelta(microseconds=999_999),
    last_attempt_end=AttemptEnd.LEASE_LOST,
    last_attempt_error="UNAVAILABLE",
    cancel_requested=True,
    version="2.0 β",
    closed_at=NOW + seconds(9),
    outcome=Direction.FAILURE,
    outcome_digest=b"o" * 32,
    outcome_bytes=2**31,
    statement=Statement.EXHAUSTED,
    heartbeat_at=NOW + timedelta(microseconds=7),
    signals=3,
    signal_bytes=2**33,
)
PRINCIPALS = ["", "däta/ε\N{PILE OF POO}", "a" * 5000, "quote ' and \" and \x01"]


def listing(wanted: OperationFilter) -> Callable[[Reader], Sequence[ListedOperation]]:
    """Return the query of a page."""
    return lambda reader: reader.list_operations(wanted)


async def found(store: Store, wanted: OperationFilter) -> list[int]:
    """Return the numbers of the operations on a page."""
    page = await store.read(listing(wanted))
    return [int.from_bytes(entry.operation.key.operation_id) for entry in page]


@pytest.mark.parametrize(
    "stored",
    [operation(1), FULL, *(operation(1, principal=text) for text in PRINCIPALS)],
)
async def test_operation_is_equal_when_it_is_read_back(store: Store, stored: Operation) -> None:
    """Every field survives, to the microsecond."""
    await store.transact(lambda unit: unit.insert_operation(stored, b"request"))
    assert await store.read(lambda reader: reader.operation(key(1))) == stored
    assert await store.transact(lambda unit: unit.operation(key(1))) == stored


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("direction", [None, Direction.RESULT, Direction.FAILURE, Direction.CANCELED])
async def test_operation_is_equal_when_it_was_updated(
    store: Store, state: State, direction: Direction | None
) -> None:
    """An update replaces everything that can change."""
    changed = structs.replace(
        FULL, state=state, outcome=direction, statement=None, last_attempt_end=None, closed_at=None
    )
    await store.transact(lambda unit: unit.insert_operation(structs.replace(FULL), b""))
    await store.transact(lambda unit: unit.update_operation(changed))
    assert await store.read(lambda reader: reader.operation(key(1))) == changed


async def test_operation_is_none_when_it_does_not_exist(store: Store) -> None:
    """An id belongs to the namespace that made it."""
    await store.transact(starting(operation(1)))
    assert await store.read(lambda reader: reader.operation(key(1, "other"))) is None
    assert await store.transact(lambda unit: unit.operation(key(2))) is None
    assert await store.read(lambda reader: reader.envelope(key(2), EnvelopeSlot.REQUEST)) is None
    assert await store.transact(lambda unit: unit.envelope(key(2), EnvelopeSlot.REQUEST)) is None


async def test_insert_is_refused_when_the_operation_exists(store: Store) -> None:
    """Neither in the same command nor in a later one."""
    await store.transact(starting(operation(1)))
    with pytest.raises(AlreadyExistsError):
        await store.transact(lambda unit: unit.insert_operation(operation(1), b""))
    with pytest.raises(AlreadyExistsError):
        await store.transact(inserting(operation(2), operation(2)))


async def test_write_is_refused_when_the_operation_does_not_exist(store: Store) -> None:
    """Updates and sealed messages need their operation; removing a task of none is no error."""
    with pytest.raises(NotFoundError):
        await store.transact(lambda unit: unit.update_operation(operation(1)))
    with pytest.raises(NotFoundError):
        await store.transact(lambda unit: unit.put_envelope(key(1), EnvelopeSlot.OUTCOME, b""))
    await store.transact(lambda unit: unit.remove_task(key(1), TaskKind.START))


async def test_update_is_refused_when_it_changes_what_an_operation_is_born_with(store: Store) -> None:
    """Route, request and timeouts stay what they were."""
    await store.transact(starting(operation(1)))
    with pytest.raises(PreconditionError):
        await store.transact(lambda unit: unit.update_operation(operation(1, request_digest=b"x" * 32)))


@pytest.mark.parametrize("slot", list(EnvelopeSlot))
async def test_envelope_is_replaced_when_its_slot_is_written_again(store: Store, slot: EnvelopeSlot) -> None:
    """Each slot of each operation holds one message of its own, empty ones included."""
    await store.transact(starting(operation(1), request=b"r1"))
    await store.transact(starting(operation(2), request=b"r2"))
    await store.transact(lambda unit: unit.put_envelope(key(1), slot, b"old"))
    large = bytes(range(256)) * 4096 * 4
    await store.transact(lambda unit: unit.put_envelope(key(1), slot, large))
    assert await store.read(lambda reader: reader.envelope(key(1), slot)) == large
    assert await store.transact(lambda unit: unit.envelope(key(1), slot)) == large
    others = set(EnvelopeSlot) - {slot, EnvelopeSlot.REQUEST}
    assert await store.read(lambda reader: {reader.envelope(key(1), other) for other in others}) == {None}
    assert await store.read(lambda reader: reader.envelope(key(2), EnvelopeSlot.REQUEST)) == b"r2"
    await store.transact(lambda unit: unit.put_envelope(key(1), slot, b""))
    assert await store.read(lambda reader: reader.envelope(key(1), slot)) == b""


async def test_overdue_operations_come_longest_overdue_first_when_timeouts_elapsed(store: Store) -> None:
    """By the timeout that elapses first; never early, never one that is closed."""
    timeouts = {1: 30, 2: 10, 3: 20, 4: 40}
    for number, due in timeouts.items():
        of = operation(number, schedule_to_close_at=NOW + seconds(due))
        await store.transact(starting(of))
    soon = operation(5, schedule_to_start_at=NOW + seconds(5))
    await store.transact(starting(soon))
    await store.transact(completing(key(3)))

    async def overdue(after: float, limit: int = 10) -> list[int]:
        at = NOW + seconds(after)
        keys = await store.transact(lambda unit: unit.overdue_operations(at, limit))
        return [int.from_bytes(entry.operation_id) for entry in keys]

    assert await overdue(4.999_999) == []
    assert await overdue(5) == [5]
    assert await overdue(30) == [5, 2, 1]
    assert await overdue(30, limit=2) == [5, 2]
    dispatched = structs.replace(soon, first_dispatched_at=NOW, state=State.DISPATCHED)
    await store.transact(lambda unit: unit.update_operation(dispatched))
    assert await overdue(30) == [2, 1]


async def test_open_operations_are_counted_when_they_come_and_go(store: Store) -> None:
    """Per endpoint, with what the same command and the same commit changed."""
    await store.transact(starting(*map(operation, range(1, 4))))
    await store.transact(starting(operation(9, endpoint="other")))

    def command(unit: UnitOfWork) -> list[int]:
        counts = [unit.count_open_operations(ENDPOINT)]
        start(unit, operation(4))
        counts.append(unit.count_open_operations(ENDPOINT))
        complete(unit, key(4))
        complete(unit, key(1))
        counts.append(unit.count_open_operations(ENDPOINT))
        return counts

    assert await store.transact(command) == [3, 4, 2]
    assert await store.transact(lambda unit: unit.count_open_operations(ENDPOINT)) == 2
    assert await store.transact(lambda unit: unit.count_open_operations("none")) == 0


async def test_count_of_open_operations_stops_at_a_thousand_when_there_are_more(store: Store) -> None:
    """Counting is bounded, and exact again when operations close."""
    await store.transact(starting(*map(operation, range(1, 1003))))
    assert await store.transact(lambda unit: unit.count_open_operations(ENDPOINT)) == 1000

    def command(unit: UnitOfWork) -> list[int]:
        counts = [unit.count_open_operations(ENDPOINT)]
        for number in range(1, 6):
            complete(unit, key(number))
            counts.append(unit.count_open_operations(ENDPOINT))
        return counts

    assert await store.transact(command) == [1000, 1000, 1000, 999, 998, 997]


async def test_operations_are_listed_newest_first_when_filtered(store: Store) -> None:
    """By caller, handler, endpoint and state, in any combination, in pages."""
    await store.transact(
        starting(
            operation(1),
            operation(2, endpoint="other"),
            operation(3, handler="ai"),
            operation(4, key=key(4, "ai")),
            operation(5),
        )
    )
    await store.transact(completing(key(5)))
    assert await found(store, OperationFilter()) == [5, 4, 3, 2, 1]
    assert await found(store, OperationFilter(caller=CALLER)) == [5, 3, 2, 1]
    assert await found(store, OperationFilter(handler=HANDLER)) == [5, 4, 2, 1]
    assert await found(store, OperationFilter(endpoint=ENDPOINT)) == [5, 4, 3, 1]
    assert await found(store, OperationFilter(caller=CALLER, endpoint=ENDPOINT, handler="ai")) == [3]
    assert await found(store, OperationFilter(states=frozenset({State.SUCCEEDED}))) == [5]
    open_or_done = frozenset({State.SUCCEEDED, State.SCHEDULED})
    assert await found(store, OperationFilter(caller=CALLER, states=open_or_done)) == [5, 3, 2, 1]
    assert await found(store, OperationFilter(caller="nobody")) == []


async def test_pages_are_complete_when_operations_are_added_meanwhile(store: Store) -> None:
    """Each operation of the first page's time comes once, whatever starts later."""
    await store.transact(starting(*map(operation, range(1, 8))))
    seen: list[int] = []
    before: int | None = None
    for later in range(100, 110):
        page = await store.read(listing(OperationFilter(caller=CALLER, before=before, limit=3)))
        if not page:
            break
        seen += [int.from_bytes(entry.operation.key.operation_id) for entry in page]
        before = page[-1].position
        await store.transact(starting(operation(later)))
    assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_handled_operations_are_found_when_callers_share_an_id(store: Store) -> None:
    """A handler that knows only the id learns that it is not unique."""
    await store.transact(starting(*(operation(1, key=key(1, caller)) for caller in ("a", "b", "c"))))
    await store.transact(starting(operation(1, key=key(1, "d"), handler="ai")))
    handled = await store.read(lambda reader: reader.operations_handled(HANDLER, key(1).operation_id))
    assert len(handled) == 2
    assert {of.handler for of in handled} == {HANDLER}
    (only,) = await store.read(lambda reader: reader.operations_handled("ai", key(1).operation_id))
    assert only.key == key(1, "d")
    assert await store.read(lambda reader: reader.operations_handled("ai", key(2).operation_id)) == []


async def test_open_operations_are_listed_oldest_first_when_some_have_ended(store: Store) -> None:
    """Of one endpoint, page by page, and whatever their state as long as it is not terminal."""
    await store.transact(starting(*map(operation, range(1, 6))))
    await store.transact(starting(operation(9, endpoint="other"), operation(6, state=State.PARKED)))
    await store.transact(completing(key(1), key(3)))

    async def page(after: int, limit: int) -> list[ListedOperation]:
        return list(await store.read(lambda reader: reader.open_operations(ENDPOINT, after, limit)))

    first = await page(0, 3)
    assert [entry.operation.key for entry in first] == [key(2), key(4), key(5)]
    assert [entry.operation.key for entry in await page(first[-1].position, 3)] == [key(6)]
    assert await store.read(lambda reader: reader.open_operations("none", 0, 10)) == []


async def test_closed_operation_stays_when_it_is_read_later(store: Store) -> None:
    """An outcome and its sealed message are kept beside the request."""
    await store.transact(starting(operation(1), request=b"request"))
    await store.transact(completing(key(1), outcome=b"outcome"))
    assert await store.read(lambda reader: reader.operation(key(1))) == succeeded(operation(1))
    assert await store.read(lambda reader: reader.envelope(key(1), EnvelopeSlot.OUTCOME)) == b"outcome"
    assert await store.read(lambda reader: reader.envelope(key(1), EnvelopeSlot.REQUEST)) == b"request"


async def test_count_of_a_caller_is_exact_when_operations_open_and_close(store: Store) -> None:
    """At one endpoint, with what the same command and the same commit changed."""
    await store.transact(starting(*map(operation, range(1, 4))))
    await store.transact(starting(operation(8, endpoint="other"), operation(9, key=key(9, "web"))))

    def command(unit: UnitOfWork) -> list[int]:
        counts = []
        for step in (
            lambda: None,
            lambda: start(unit, operation(4)),
            lambda: complete(unit, key(4)),
            lambda: complete(unit, key(1)),
        ):
            step()
            counts.append(unit.count_open_operations_of(ENDPOINT, CALLER))
        return counts

    assert await store.transact(command) == [3, 4, 3, 2]
    assert await store.transact(lambda unit: unit.count_open_operations_of(ENDPOINT, CALLER)) == 2
    assert await store.transact(lambda unit: unit.count_open_operations_of(ENDPOINT, "web")) == 1
    assert await store.transact(lambda unit: unit.count_open_operations_of("none", CALLER)) == 0


async def test_count_of_a_caller_is_exact_when_a_command_that_asked_raises(store: Store) -> None:
    """Its own changes are not counted afterwards, whether it asked before or after it made them."""

    def spoil(unit: UnitOfWork) -> None:
        start(unit, operation(7))
        assert unit.count_open_operations_of(ENDPOINT, CALLER) == 2
        start(unit, operation(8))
        assert unit.ready_tasks(QUEUE, CALLER, NOW, 10)
        assert unit.count_open_operations_of(ENDPOINT, CALLER) == 3
        raise LookupError

    await store.transact(starting(operation(1)))
    for _ in range(2):
        with pytest.raises(LookupError):
            await store.transact(spoil)
        assert await store.transact(lambda unit: unit.count_open_operations_of(ENDPOINT, CALLER)) == 1


async def test_count_of_a_caller_is_exact_when_it_goes_beyond_a_thousand(store: Store) -> None:
    """There is no end to counting."""
    assert await store.transact(lambda unit: unit.count_open_operations_of(ENDPOINT, CALLER)) == 0
    await store.transact(starting(*map(operation, range(1, 1203))))
    await store.transact(completing(*map(key, range(1, 3))))
    assert await store.transact(lambda unit: unit.count_open_operations_of(ENDPOINT, CALLER)) == 1200


async def test_operation_is_found_by_its_token_when_it_has_one(store: Store) -> None:
    """By its handler only; the last token counts, and two operations may have the same one."""

    def found(token: bytes, handler: str = HANDLER) -> Callable[[Reader], list[OperationKey]]:
        return lambda reader: [of.key for of in reader.operations_with_token(handler, token)]

    await store.transact(inserting(*(operation(number) for number in range(1, 5))))
    await store.transact(lambda unit: unit.put_operation_token(key(1), b"a" * 32))
    await store.transact(lambda unit: unit.put_operation_token(key(1), b"b" * 32))
    assert await store.read(found(b"a" * 32)) == []
    assert await store.read(found(b"b" * 32)) == [key(1)]
    assert await store.read(found(b"b" * 32, "other")) == []
    await store.transact(lambda unit: unit.put_operation_token(key(2), b"b" * 32))
    await store.transact(lambda unit: unit.put_operation_token(key(3), b"b" * 32))
    assert len(await store.read(found(b"b" * 32))) == 2
    with pytest.raises(NotFoundError):
        await store.transact(lambda unit: unit.put_operation_token(key(9), b"a" * 32))


async def test_contexts_come_back_in_their_order_when_they_were_appended(store: Store) -> None:
    """In one command, in the next one, and to readers; those of other operations are not among them."""

    def command(unit: UnitOfWork) -> Sequence[bytes]:
        unit.insert_operation(operation(1), b"sealed request")
        unit.put_context(key(1), 0, b"first")
        unit.put_context(key(1), 1, b"second")
        return unit.contexts(key(1))

    assert list(await store.transact(command)) == [b"first", b"second"]
    await store.transact(inserting(operation(2)))
    await store.transact(lambda unit: unit.put_context(key(1), 2, b"third"))
    expected = [b"first", b"second", b"third"]
    assert list(await store.transact(lambda unit: unit.contexts(key(1)))) == expected
    assert list(await store.read(lambda reader: reader.contexts(key(1)))) == expected
    assert not await store.transact(lambda unit: [*unit.contexts(key(2)), *unit.contexts(key(9))])
    assert not await store.read(lambda reader: reader.contexts(key(9)))
    with pytest.raises(NotFoundError):
        await store.transact(lambda unit: unit.put_context(key(9), 0, b"first"))


async def test_signals_are_kept_apart_when_there_are_many(store: Store) -> None:
    """Each has its place, of each operation, beside every other sealed message."""
    await store.transact(inserting(operation(1)))
    await store.transact(inserting(operation(2)))

    def put(unit: UnitOfWork) -> list[bytes | None]:
        for number in (1, 2, 500):
            unit.put_signal_envelope(key(1), number, b"signal %d" % number)
        return [unit.signal_envelope(key(1), number) for number in (1, 2, 3, 500)]

    def read(of: int) -> Callable[[Reader], list[bytes | None]]:
        return lambda reader: [reader.signal_envelope(key(of), number) for number in (1, 2, 3, 500)]

    expected = [b"signal 1", b"signal 2", None, b"signal 500"]
    assert await store.transact(put) == expected
    assert (
        await store.transact(lambda unit: [unit.signal_envelope(key(1), number) for number in (1, 2, 3, 500)])
        == expected
    )
    assert await store.read(read(1)) == expected
    assert await store.read(read(2)) == [None] * 4
    with pytest.raises(NotFoundError):
        await store.transact(lambda unit: unit.put_signal_envelope(key(9), 1, b""))
