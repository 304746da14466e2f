"""Many operations at once: where each is, what proves it, and what that costs."""

from tests.contract.commands import completing, starting
from tests.contract.samples import ENDPOINT, NOW, key, operation

from isthmus.gateway.core.operation import State, Statement
from isthmus.gateway.ports import EnvelopeSlot, Store, UnitOfWork

ROOM = 1 << 30


async def test_each_is_answered_in_order_when_they_differ(store: Store) -> None:
    """Open, ended, retired, unknown, and another caller's: each for itself."""
    await store.transact(starting(operation(1), operation(2), operation(3)))
    await store.transact(completing(key(3)))
    await store.transact(lambda unit: unit.retire_operations(ENDPOINT, closed_until=NOW, limit=100))
    await store.transact(completing(key(2), outcome=b"outcome of 2"))
    keys = [key(4), key(3), key(2), key(1), key(1, caller="other")]
    found = await store.read(lambda reader: reader.evidence(keys, ROOM))
    assert [entry.key for entry in found] == keys
    unknown, retired, ended, opened, others = found
    assert (unknown.operation, unknown.identity) == (None, None)
    assert (others.operation, others.identity) == (None, None)
    assert retired.operation is None
    assert retired.identity is not None
    assert retired.identity.key == key(3)
    assert (ended.request, ended.outcome, ended.cancel) == (b"sealed request", b"outcome of 2", b"")
    assert (opened.request, opened.outcome, opened.cancel) == (b"sealed request", b"", b"")
    assert opened.operation == operation(1)


async def test_cancel_is_shown_when_the_gateway_ended_it_for_that(store: Store) -> None:
    """What proves a cancel is the caller's own message; a cancel of what runs proves nothing yet."""

    def canceled(unit: UnitOfWork) -> None:
        ended = operation(1, state=State.CANCELED, statement=Statement.CANCELED, closed_at=NOW)
        for of in (ended, operation(2, cancel_requested=True)):
            unit.insert_operation(of, b"sealed request")
            unit.put_envelope(of.key, EnvelopeSlot.CANCEL, b"sealed cancel")

    await store.transact(canceled)
    found = await store.read(lambda reader: reader.evidence([key(1), key(2)], ROOM))
    assert [entry.cancel for entry in found] == [b"sealed cancel", b""]


async def test_first_ones_are_answered_when_there_is_no_room_for_all(store: Store) -> None:
    """One at least, however large: whoever asks for the others gets on."""
    await store.transact(starting(*(operation(number, request_bytes=100) for number in range(1, 6))))
    keys = [key(number) for number in range(1, 6)]
    for room, answered in ((0, 1), (100, 1), (199, 1), (200, 2), (500, 5)):
        found = await store.read(lambda reader, room=room: reader.evidence(keys, room))  # type: ignore[misc]
        assert [entry.key for entry in found] == keys[:answered]


async def test_unknown_ones_need_no_room_when_nothing_is_kept_of_them(store: Store) -> None:
    """Nothing is read for them."""
    keys = [key(number) for number in range(1, 257)]
    found = await store.read(lambda reader: reader.evidence(keys, 0))
    assert [entry.key for entry in found] == keys
