"""What is kept for a namespace, in pages; and sealed to another of its keys, with nothing else changed."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec import structs
from tests.contract.samples import (
    ACTOR,
    CALLER,
    ENDPOINT,
    HANDLER,
    NOW,
    endpoint_record,
    key,
    operation,
    succeeded,
)
from tests.integration.sealed_messages import ENCRYPTION_KEY_ID, request_header, sealed

from isthmus.gateway.commands.rewrap_messages import Rewrap, rewrap_messages
from isthmus.gateway.core.audit_record import Actor
from isthmus.gateway.core.feed import PublishedEvent
from isthmus.gateway.ports import (
    EnvelopeSlot,
    MessagePlace,
    SealedHead,
    Store,
    StoredEndpointRecord,
    UnitOfWork,
)
from isthmus.wire.endpoint_record import EndpointRecord
from isthmus.wire.envelope import header_hash, parse_envelope, parse_head
from isthmus.wire.names import EndpointName, NamespaceName, OperationId

NEW_KEY = b"n" * 16
WRAP = b"w" * 64
OWNER = Actor(namespace=HANDLER, principal="billing/keys")


def message(recipient: str, body: bytes = b"ciphertext") -> bytes:
    """Seal something to a namespace."""
    return sealed(request_header(recipient_namespace=recipient, recipients=(recipient,)), body)


REQUEST, OUTCOME, SIGNAL, CONTEXT, EVENT = (
    message(HANDLER),
    message(CALLER),
    message(HANDLER),
    message(CALLER),
    message(HANDLER),
)


def keep(unit: UnitOfWork) -> None:
    """Keep three operations, of which the first has a message in many parts, and an event."""
    unit.insert_operation(operation(1), REQUEST)
    unit.put_context(key(1), 0, CONTEXT)
    unit.put_signal_envelope(key(1), 1, SIGNAL)
    unit.put_envelope(key(1), EnvelopeSlot.OUTCOME, OUTCOME)
    unit.update_operation(structs.replace(succeeded(operation(1)), signals=1))
    unit.insert_operation(operation(2), message(HANDLER))
    unit.insert_operation(operation(3, handler=CALLER), message(CALLER))
    unit.put_event(
        PublishedEvent(
            reader=HANDLER,
            publisher=CALLER,
            event_id=OperationId(b"e" * 16),
            envelope=EVENT,
            expires_at=NOW + timedelta(hours=1),
        )
    )


async def all_of(store: Store, namespace: str, most: int) -> Sequence[SealedHead]:
    """Go through all pages."""
    found: list[SealedHead] = []
    after, pages = "", 0
    while True:
        page = await store.read(lambda reader, after=after: reader.sealed_messages(namespace, after, most))  # type: ignore[misc]
        found += page.heads
        pages += 1
        assert pages < 20
        if not page.next:
            return found
        after = page.next


def shown(heads: Sequence[SealedHead]) -> set[tuple[str, int, bool]]:
    """Return which parts of which operations they are."""
    return {(head.place.part, head.place.ident[-1], head.is_open) for head in heads}


@pytest.mark.parametrize("most", [1, 2, 100])
async def test_everything_is_found_when_all_pages_are_read(store: Store, most: int) -> None:
    """On both sides of operations, signals, contexts and events; nothing of strangers; each once."""
    await store.transact(keep)
    last = ord("e")
    handled = await all_of(store, HANDLER, most)
    assert shown(handled) == {
        ("request", 1, False),
        ("outcome", 1, False),
        ("context", 1, False),
        ("signal", 1, False),
        ("request", 2, True),
        ("event", last, False),
    }
    assert len(handled) == 6
    called = await all_of(store, CALLER, most)
    assert shown(called) == {*shown(handled), ("request", 3, True)} - {("event", last, False)}
    assert len(called) == 6
    assert not await all_of(store, "stranger", most)


def record(number: int, name: str, *readers: str) -> StoredEndpointRecord:
    """Return what the handler signed about an endpoint."""
    signed = EndpointRecord(
        trust_domain="acme.example",
        namespace=HANDLER,
        endpoint=name,
        version=number,
        previous_hash=bytes(32) if number > 1 else b"",
        issued_at_ms=1,
        expires_at_ms=2,
        task_queue="queue",
        required_recipients=readers,
    )
    return structs.replace(endpoint_record(number, name=name), record=signed.encode())


@pytest.mark.parametrize("most", [1, 2, 100])
async def test_who_ever_read_along_finds_everything_when_all_pages_are_read(store: Store, most: int) -> None:
    """At each endpoint whose owner signed so, whenever; what it called itself is there once."""
    handled = NamespaceName("someone")

    def put(unit: UnitOfWork) -> None:
        keep(unit)
        for made in (
            record(1, ENDPOINT, "escrow-team"),
            record(2, ENDPOINT),
            record(1, "second", "another", CALLER, "escrow-team"),
            record(1, "third", "escrow-team-2"),
        ):
            unit.put_endpoint_record(made)
        for number, name in ((4, "second"), (5, "third"), (6, "second")):
            at = operation(number, handler=handled, endpoint=EndpointName(name))
            unit.insert_operation(at, message(handled))

    await store.transact(put)
    reads = await all_of(store, "escrow-team", most)
    assert {(head.place.ident[-1], head.place.part) for head in reads} == {
        (1, "request"),
        (1, "outcome"),
        (1, "context"),
        (1, "signal"),
        (2, "request"),
        (3, "request"),
        (4, "request"),
        (6, "request"),
    }
    assert len(reads) == 8
    called = [head.place.ident[-1] for head in await all_of(store, CALLER, most)]
    assert sorted(called) == [1, 1, 1, 1, 2, 3, 4, 5, 6]


async def test_head_has_header_and_wraps_when_the_body_is_long(store: Store) -> None:
    """The body is not read."""
    long = message(HANDLER, b"x" * 500_000)
    await store.transact(lambda unit: unit.insert_operation(operation(1), long))
    (head,) = await all_of(store, HANDLER, 10)
    assert len(head.head) < 200_000
    header, (wrap,) = parse_head(head.head)
    assert header == parse_envelope(long).header_bytes
    assert (wrap.namespace, wrap.key_id) == (HANDLER, ENCRYPTION_KEY_ID)


@pytest.mark.parametrize("after", ["x", "o-", "oops", f"r{ENDPOINT}/x"])
async def test_page_is_refused_when_no_page_ended_there(store: Store, after: str) -> None:
    """A token comes from outside."""
    with pytest.raises(ValueError, match=r"no page|invalid literal"):
        await store.read(lambda reader: reader.sealed_messages(HANDLER, after, 10))


def rewrap_of(envelope: bytes, part: str, number: int = 0, **changes: object) -> Rewrap:
    """Return a rewrap of a part of the first operation, with changes."""
    made = Rewrap(
        place=MessagePlace(namespace=CALLER, ident=key(1).operation_id, part=part, number=number),
        header_hash=header_hash(parse_envelope(envelope).header_bytes),
        old_key_id=ENCRYPTION_KEY_ID,
        new_key_id=NEW_KEY,
        wrap=WRAP,
    )
    return structs.replace(made, **changes)


async def rewrap(store: Store, *rewraps: Rewrap, actor: Actor = OWNER) -> int:
    """Run the command."""
    return await store.transact(lambda unit: rewrap_messages(unit, rewraps, actor=actor, now=NOW))


async def test_only_the_own_wrap_changes_when_messages_are_rewrapped(store: Store) -> None:
    """Header, body, signature and digest stay; repeated, nothing is replaced again."""
    await store.transact(keep)
    event = MessagePlace(namespace=CALLER, ident=OperationId(b"e" * 16), part=MessagePlace.EVENT, number=0)
    rewraps = (
        rewrap_of(REQUEST, "request"),
        rewrap_of(SIGNAL, MessagePlace.SIGNAL, 1),
        rewrap_of(EVENT, MessagePlace.EVENT, place=event),
    )
    assert await rewrap(store, *rewraps) == 3
    assert await rewrap(store, *rewraps) == 0
    own = (rewrap_of(OUTCOME, "outcome"), rewrap_of(CONTEXT, MessagePlace.CONTEXT))
    assert await rewrap(store, *own, actor=ACTOR) == 2
    kept = await store.read(lambda reader: reader.envelope(key(1), EnvelopeSlot.REQUEST))
    assert kept is not None
    before, after = parse_envelope(REQUEST), parse_envelope(kept)
    assert after.wraps == (before.wraps[0]._replace(key_id=NEW_KEY, ciphertext=WRAP),)
    assert after._replace(wraps=()) == before._replace(wraps=())
    assert after.digest == before.digest
    for namespace, keys in ((HANDLER, {NEW_KEY, ENCRYPTION_KEY_ID}), (CALLER, {NEW_KEY, ENCRYPTION_KEY_ID})):
        heads = await all_of(store, namespace, 100)
        wraps = [wrap for head in heads for wrap in parse_head(head.head)[1] if wrap.namespace == namespace]
        assert {wrap.key_id for wrap in wraps} == keys


@pytest.mark.parametrize(
    "changes",
    [
        {"header_hash": bytes(32)},
        {"old_key_id": bytes(16)},
        {"wrap": WRAP + b"w"},
        {"place": MessagePlace(namespace=CALLER, ident=key(9).operation_id, part="request", number=0)},
        {"place": MessagePlace(namespace=HANDLER, ident=key(1).operation_id, part="request", number=0)},
        {"place": MessagePlace(namespace=CALLER, ident=key(1).operation_id, part="outcome", number=0)},
        {"place": MessagePlace(namespace=CALLER, ident=key(1).operation_id, part="signal", number=2)},
        {"place": MessagePlace(namespace=CALLER, ident=key(1).operation_id, part="context", number=5)},
        {"place": MessagePlace(namespace=CALLER, ident=key(1).operation_id, part="event", number=0)},
    ],
)
async def test_message_is_left_alone_when_the_rewrap_is_not_for_it(
    store: Store, changes: dict[str, object]
) -> None:
    """It is gone, another message is kept there now, or it is sealed to another key."""
    await store.transact(keep)
    assert await rewrap(store, rewrap_of(REQUEST, "request", **changes)) == 0  # type: ignore[arg-type]
    assert await store.read(lambda reader: reader.envelope(key(1), EnvelopeSlot.REQUEST)) == REQUEST


@pytest.mark.parametrize("namespace", [CALLER, "stranger"])
async def test_message_is_left_alone_when_it_is_sealed_to_another_namespace(
    store: Store, namespace: str
) -> None:
    """Neither the sender nor a stranger takes a recipient's message from it."""
    await store.transact(keep)
    actor = Actor(namespace=NamespaceName(namespace), principal="x")
    assert await rewrap(store, rewrap_of(REQUEST, "request"), actor=actor) == 0
    assert await store.read(lambda reader: reader.envelope(key(1), EnvelopeSlot.REQUEST)) == REQUEST
