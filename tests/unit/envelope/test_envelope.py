"""What is sealed comes out again, for every payload and direction; what is refused is not sealed."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.envelope.world import HOUR_MS, NOW_MS, PAYLOAD, World, fixed_bytes

from isthmus.envelope import checks
from isthmus.envelope.errors import (
    EnvelopeRejectedError,
    KeyUnavailableError,
    MissingKey,
    NeverSealError,
    RejectionReason,
)
from isthmus.envelope.expected import Expected
from isthmus.envelope.identity import (
    derive_operation_id,
    fingerprint_of,
    random_message_id,
    random_operation_id,
    random_session,
)
from isthmus.envelope.inner import decode_inner, encode_inner, padme_length
from isthmus.envelope.key_material import (
    EncryptionPrivateKey,
    EncryptionPublicKey,
    SigningPrivateKey,
    SigningPublicKey,
)
from isthmus.envelope.replay import Delivery, RedeliveryGuard, SequenceGuard
from isthmus.envelope.seal import seal
from isthmus.envelope.statement import StatementKind, deadline_has_passed
from isthmus.payload.payload import Payload
from isthmus.v1 import envelope_pb2
from isthmus.wire.header import OUTCOMES, Direction

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
HEADERS = st.dictionaries(
    st.text(st.characters(codec="utf-8", categories=["Ll", "Nd"]), min_size=1, max_size=20).map(str.lower),
    TEXT,
    max_size=5,
).map(lambda headers: tuple(sorted(headers.items())))
PAYLOADS = st.builds(Payload, content_type=TEXT, headers=HEADERS, data=st.binary(max_size=3000))


@pytest.fixture
def world() -> World:
    """Three namespaces and a stranger."""
    return World()


@settings(deadline=None)
@given(payload=PAYLOADS)
def test_payload_comes_out_again_when_it_was_sealed(payload: Payload) -> None:
    """Content type, headers and data."""
    world = World()
    header = world.header(Direction.REQUEST, world.caller, world.handler)
    sealed = world.seal(header, payload, world.caller)
    opened = world.open_request(sealed.envelope)
    assert opened.payload == payload
    assert opened.header == header
    assert (opened.digest, opened.header_bytes) == (sealed.digest, sealed.header_bytes)
    assert (opened.signature, opened.body_digest) == (sealed.signature, sealed.body_digest)


@pytest.mark.parametrize("direction", [*OUTCOMES, Direction.PROGRESS])
def test_answer_opens_when_it_answers_this_request(world: World, direction: Direction) -> None:
    """Every direction from handler to caller."""
    request = world.request()
    sealed = world.answer(request, direction)
    opened = world.open_answer(sealed.envelope, request, directions=frozenset({direction}))
    assert opened.header.direction is direction


@pytest.mark.parametrize("direction", [Direction.STARTED, Direction.DETAILS, Direction.CONTEXT])
def test_note_to_oneself_opens_when_the_same_namespace_opens_it(world: World, direction: Direction) -> None:
    """Operation tokens, heartbeat details, caller contexts."""
    request = world.request()
    party = world.caller if direction is Direction.CONTEXT else world.handler
    header = world.header(direction, party, party, request_digest=request.digest)
    sealed = world.seal(header, PAYLOAD, party)
    expected = world.expect_answer(request)._replace(
        directions=frozenset({direction}),
        sender_namespace=party.namespace,
        recipient_namespace=party.namespace,
    )
    assert world.open(sealed.envelope, expected, sender=party, opener=party).payload == PAYLOAD


def event_of(world: World, **changes: Any) -> tuple[bytes, Expected]:
    """Return an event that the handler's namespace sealed for the caller's, and what the caller expects."""
    header = world.header(Direction.EVENT, world.handler, world.caller, **changes)
    expected = world.expect_answer(world.request())._replace(
        directions=frozenset({Direction.EVENT}),
        operation_id=header.operation_id,
        request_digest=None,
    )
    return world.seal(header, PAYLOAD, world.handler).envelope, expected


def test_event_opens_when_the_owner_of_the_endpoint_sealed_it(world: World) -> None:
    """It answers nothing, and never expires."""
    envelope, expected = event_of(world)
    opened = world.open(envelope, expected, sender=world.handler, opener=world.caller)
    assert (opened.payload, opened.header.request_digest) == (PAYLOAD, b"")


@pytest.mark.parametrize(
    "changes",
    [
        {"operation_id": bytes(16)},
        {"endpoint": "refunds"},
        {"service": "Refunds"},
        {"operation": "refund"},
        {"sender_namespace": "other-team"},
        {"recipient_namespace": "other-team"},
        {"directions": frozenset({Direction.RESULT, Direction.EVENT}) - {Direction.EVENT}},
    ],
    ids=repr,
)
def test_event_is_refused_when_it_is_another_one(world: World, changes: dict[str, Any]) -> None:
    """Of another endpoint, another name, from or for somebody else, or no event at all."""
    envelope, expected = event_of(world)
    if "directions" in changes:
        changes = changes | {"request_digest": bytes(32)}
    with pytest.raises(EnvelopeRejectedError):
        world.open(envelope, expected._replace(**changes), sender=world.handler, opener=world.caller)


def test_event_is_not_sealed_when_it_answers_a_request(world: World) -> None:
    """Then it would be progress or an outcome."""
    with pytest.raises(NeverSealError):
        event_of(world, request_digest=bytes(32))
    with pytest.raises(NeverSealError):
        event_of(world, expires_at_ms=NOW_MS + 1)


def test_escrow_holder_can_read_when_it_is_an_agreed_recipient(world: World) -> None:
    """It opens with its own wrap."""
    agreed = tuple(sorted((world.caller.namespace, world.handler.namespace, world.escrow.namespace)))
    sealed = world.request(recipients=agreed)
    expected = world.expect_request(recipients=agreed)
    opened = world.open(sealed.envelope, expected, sender=world.caller, opener=world.escrow)
    assert opened.payload == PAYLOAD


def test_envelope_is_refused_when_this_namespace_is_not_listed(world: World) -> None:
    """Even if it is handed to somebody else."""
    with pytest.raises(EnvelopeRejectedError) as caught:
        world.open(
            world.request().envelope, world.expect_request(), sender=world.caller, opener=world.stranger
        )
    assert caught.value.reason is RejectionReason.NOT_LISTED


def test_key_is_unavailable_when_the_wrap_names_one_that_is_not_here(world: World) -> None:
    """The keyring may learn it: this is retryable."""
    sealed = world.request()
    from_elsewhere = replace(world.handler, encryption=EncryptionPrivateKey.generate())
    with pytest.raises(KeyUnavailableError) as caught:
        world.open(sealed.envelope, world.expect_request(), sender=world.caller, opener=from_elsewhere)
    assert caught.value.which is MissingKey.RECIPIENT_ENCRYPTION


ANSWERS = [
    direction
    for direction in Direction
    if direction not in {Direction.REQUEST, Direction.CONTEXT, Direction.EVENT}
]


@pytest.mark.parametrize("direction", ANSWERS)
def test_nothing_answers_an_unknown_question_when_it_is_opened(world: World, direction: Direction) -> None:
    """A genuine answer, too, is not even looked at without a request digest and an operation id."""
    request = world.request()
    answer = world.answer(request, Direction.RESULT)
    known = world.expect_answer(request)._replace(directions=frozenset({direction, Direction.RESULT}))
    for expected in (known._replace(request_digest=None), known._replace(operation_id=None)):
        with pytest.raises(ValueError, match="known"):
            world.open(answer.envelope, expected, sender=world.handler, opener=world.caller)


def test_nothing_is_sealed_when_header_and_keys_disagree(world: World) -> None:
    """Another signer, other recipients, an invalid header, a payload that is not canonical, too much."""
    header = world.header(Direction.REQUEST, world.caller, world.handler)
    recipients = world.recipients(header.recipients)
    signer = world.caller.signing
    with pytest.raises(NeverSealError, match="signing key"):
        seal(header, PAYLOAD, signer=world.stranger.signing, recipients=recipients)
    for others in (recipients[:1], recipients[::-1], []):
        with pytest.raises(NeverSealError, match="recipients"):
            seal(header, PAYLOAD, signer=signer, recipients=others)
    with pytest.raises(NeverSealError, match="not valid"):
        seal(header._replace(operation=""), PAYLOAD, signer=signer, recipients=recipients)
    for headers in ((("B", ""),), (("b", ""), ("a", "")), (("a", ""), ("a", "")), (("", ""),)):
        with pytest.raises(NeverSealError, match="canonical"):
            seal(header, PAYLOAD._replace(headers=headers), signer=signer, recipients=recipients)
    with pytest.raises(NeverSealError, match=r"4 MiB.*reference"):
        seal(
            header,
            Payload(content_type="", data=bytes(4 * 1024 * 1024)),
            signer=signer,
            recipients=recipients,
        )


@given(length=st.integers(0, 1 << 40))
def test_padme_hides_all_but_a_few_bits_of_a_length(length: int) -> None:
    """At most 12 % more, idempotent, and few distinct lengths."""
    padded = padme_length(length)
    assert length <= padded <= length * 1.12
    assert padme_length(padded) == padded
    bits = padded.bit_length()
    assert padded % (1 << max(0, bits - 1 - bits.bit_length())) == 0


@given(plaintext=st.binary(max_size=300))
def test_plaintext_is_refused_or_canonical_when_it_is_arbitrary(plaintext: bytes) -> None:
    """There is one plaintext of each payload."""
    try:
        payload = decode_inner(plaintext)
    except EnvelopeRejectedError:
        return
    assert encode_inner(payload) == plaintext


@given(payload=PAYLOADS)
def test_plaintext_is_length_protobuf_and_zeros(payload: Payload) -> None:
    """What is written field by field is what protobuf writes."""
    message = envelope_pb2.InnerPayload(
        content_type=payload.content_type,
        headers=[envelope_pb2.PayloadHeader(name=name, value=value) for name, value in payload.headers],
        data=payload.data,
    )
    serialized = message.SerializeToString(deterministic=True)
    length = 8 + len(serialized)
    plaintext = len(serialized).to_bytes(8, "big") + serialized + bytes(padme_length(length) - length)
    assert encode_inner(payload) == plaintext
    assert decode_inner(plaintext) == payload


UNCANONICAL: dict[str, bytes] = {
    "reordered fields": b"\x1a\x01d\x0a\x01t",
    "duplicate field": b"\x0a\x01t\x0a\x01t\x1a\x01d",
    "overlong length": b"\x0a\x81\x00t\x1a\x01d",
    "overlong tag": b"\x8a\x00\x01t\x1a\x01d",
    "explicit default": b"\x0a\x00\x1a\x01d",
    "unknown field": b"\x0a\x01t\x1a\x01d\xfa\x3f\x01x",
    "unknown field in a header": b"\x0a\x01t\x12\x06\x0a\x01n\x1a\x01x\x1a\x01d",
    "empty header": b"\x0a\x01t\x12\x00\x1a\x01d",
    "not text": b"\x0a\x01\xff\x1a\x01d",
    "header is not text": b"\x0a\x01t\x12\x03\x0a\x01\xff\x1a\x01d",
}


@pytest.mark.parametrize("variant", UNCANONICAL)
def test_payload_is_refused_when_it_is_not_canonical(variant: str) -> None:
    """Even though it is padded as it should be."""
    serialized = UNCANONICAL[variant]
    length = 8 + len(serialized)
    with pytest.raises(EnvelopeRejectedError) as caught:
        decode_inner(len(serialized).to_bytes(8, "big") + serialized + bytes(padme_length(length) - length))
    assert caught.value.reason is RejectionReason.INNER


OTHER: dict[str, Any] = {
    "suite": "ISE0",
    "direction": Direction.CONTEXT,
    "trust_domain": "evil",
    "sender_namespace": "mallory",
    "recipient_namespace": "mallory",
    "recipients": ("app-team", "mallory"),
    "endpoint": "payouts",
    "service": "Payouts",
    "operation": "refund",
    "operation_id": fixed_bytes("another operation", 16),
    "request_digest": fixed_bytes("a digest"),
    "principal": "spiffe://acme/root",
    "contract_hash": fixed_bytes("a contract"),
    "labels": (("purpose", "fun"),),
}
HEADER_CHECKS = (
    checks.direction, checks.trust_domain, checks.sender, checks.recipient, checks.recipients,
    checks.endpoint, checks.service, checks.operation, checks.operation_id, checks.request_digest,
    checks.principal, checks.contract, checks.labels,
)  # fmt: skip


PINNED = ("endpoint", "service", "operation", "principal", "contract_hash", "labels", "recipients")


@pytest.mark.parametrize("differing", [(), *[(name,) for name in OTHER], tuple(OTHER)], ids=str)
@pytest.mark.parametrize("pinned", [(), *[(name,) for name in PINNED], PINNED], ids=str)
@pytest.mark.parametrize("request_digest", [None, b""])
def test_header_agrees_exactly_when_no_check_refuses_it(
    world: World, differing: tuple[str, ...], pinned: tuple[str, ...], request_digest: bytes | None
) -> None:
    """The short cut and the checks one by one are of one mind, whatever is known and whatever differs."""
    header = world.header(Direction.REQUEST, world.caller, world.handler)
    known = {name: getattr(header, name) for name in pinned}
    expected = world.expect_request(request_digest=request_digest, **known)
    changed = header._replace(**{name: OTHER[name] for name in differing})
    try:
        checks.suite(changed)
        for check in HEADER_CHECKS:
            check(changed, expected)
    except EnvelopeRejectedError:
        assert not checks.agree(changed, expected)
    else:
        assert checks.agree(changed, expected)


@given(first=PAYLOADS, second=PAYLOADS)
def test_fingerprints_are_equal_exactly_when_payloads_are(first: Payload, second: Payload) -> None:
    """And only under one id_key."""
    key = fixed_bytes("id key")
    assert (fingerprint_of(key, first) == fingerprint_of(key, second)) == (first == second)
    assert fingerprint_of(key, first) != fingerprint_of(bytes(32), first)


def test_operation_id_differs_when_any_part_of_its_identity_does() -> None:
    """Every part is bound, and no part borrows from its neighbor."""
    identity: dict[str, Any] = {
        "trust_domain": "acme",
        "caller_namespace": "a",
        "endpoint": "b",
        "service": "c",
        "operation": "d",
        "request_id": "e",
    }
    ids = {derive_operation_id(bytes(32), **identity)}
    for name in identity:
        changed: dict[str, Any] = {**identity, name: "other"}
        ids.add(derive_operation_id(bytes(32), **changed))
    ids.add(derive_operation_id(bytes(32), **identity, generation=2))
    ids.add(derive_operation_id(bytes(31) + b"x", **identity))
    shifted: dict[str, Any] = {**identity, "service": "cd", "operation": ""}
    ids.add(derive_operation_id(bytes(32), **shifted))
    assert len(ids) == 10
    for wrong in ({"request_id": ""}, {"request_id": "é" * 129}, {"generation": 0}):
        refused: dict[str, Any] = {**identity, **wrong}
        with pytest.raises(NeverSealError):
            derive_operation_id(bytes(32), **refused)


def test_random_identities_are_fresh() -> None:
    """Sixteen bytes each."""
    made = [make() for make in (random_message_id, random_operation_id, random_session) for _ in range(100)]
    assert len(set(made)) == 300
    assert {len(value) for value in made} == {16}


def test_guard_forgets_the_oldest_when_it_is_full(world: World) -> None:
    """Bounded memory; what it forgot is a first delivery again."""
    guard = RedeliveryGuard(capacity=2)
    headers = [
        world.header(Direction.REQUEST, world.caller, world.handler, operation_id=bytes([number]) * 16)
        for number in range(3)
    ]
    for header in headers:
        assert guard.admit(header, b"digest") is Delivery.FIRST
    assert guard.admit(headers[2], b"digest") is Delivery.REPEATED
    assert guard.admit(headers[0], b"digest") is Delivery.FIRST


@given(numbers=st.lists(st.integers(1, 6), max_size=30))
def test_signals_are_released_in_order_when_they_arrive_in_any(numbers: list[int]) -> None:
    """Whatever arrives: 1, 2, 3 … without a gap and without a repetition."""
    world, guard = World(), SequenceGuard()
    released, reasons = [], set()
    for number in numbers:
        header = world.header(
            Direction.SIGNAL, world.caller, world.handler, sequence=number, request_digest=bytes(32)
        )
        try:
            if guard.admit(header, bytes([number])) is Delivery.FIRST:
                released.append(number)
        except EnvelopeRejectedError as error:
            reasons.add(error.reason)
    assert released == list(range(1, len(released) + 1))
    assert reasons <= {RejectionReason.ORDER}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (StatementKind.TIMED_OUT_SCHEDULE_TO_START, {"schedule_to_start_timeout_ms": 1000}),
        (StatementKind.TIMED_OUT_START_TO_CLOSE, {"start_to_close_timeout_ms": 1000}),
        (StatementKind.TIMED_OUT_SCHEDULE_TO_CLOSE, {"schedule_to_close_timeout_ms": 1000}),
    ],
)
def test_timeout_is_believed_when_that_deadline_of_the_header_has_passed(
    world: World, kind: StatementKind, changes: dict[str, int]
) -> None:
    """That one, not another; and a timeout that was never asked for never passes."""
    request = world.header(Direction.REQUEST, world.caller, world.handler, **changes)
    assert not deadline_has_passed(kind, request, NOW_MS + 999)
    assert deadline_has_passed(kind, request, NOW_MS + 1000)
    unasked = world.header(Direction.REQUEST, world.caller, world.handler)
    if kind is not StatementKind.TIMED_OUT_SCHEDULE_TO_CLOSE:
        assert not deadline_has_passed(kind, unasked, NOW_MS + 1000 * HOUR_MS)
    for never in (StatementKind.DENIED, StatementKind.TERMINATED, StatementKind.EXHAUSTED):
        assert not deadline_has_passed(never, request, NOW_MS + 1000 * HOUR_MS)


@pytest.mark.parametrize(
    ("kind", "begins_ms"),
    [
        (StatementKind.TIMED_OUT_SCHEDULE_TO_START, NOW_MS + 5000),
        (StatementKind.TIMED_OUT_START_TO_CLOSE, NOW_MS + 5000),
        (StatementKind.TIMED_OUT_SCHEDULE_TO_CLOSE, NOW_MS),
    ],
)
def test_timeout_is_believed_from_its_own_beginning_when_the_start_was_put_off(
    world: World, kind: StatementKind, begins_ms: int
) -> None:
    """A gateway cannot end an operation by the time that its caller let it wait."""
    request = world.header(
        Direction.REQUEST,
        world.caller,
        world.handler,
        schedule_to_start_timeout_ms=9000,
        start_to_close_timeout_ms=9000,
        schedule_to_close_timeout_ms=9000,
        start_at_ms=NOW_MS + 5000,
    )
    assert not deadline_has_passed(kind, request, begins_ms + 8999)
    assert deadline_has_passed(kind, request, begins_ms + 9000)


def test_keys_come_back_when_they_are_loaded_again() -> None:
    """From their raw form, with the same id; equality is that of the full key."""
    signing, encryption = SigningPrivateKey.generate(), EncryptionPrivateKey.generate()
    assert SigningPrivateKey.from_bytes(signing.to_bytes()).public == signing.public
    assert EncryptionPrivateKey.from_seed(encryption.seed).public == encryption.public
    assert SigningPublicKey(signing.public.raw) == signing.public
    assert EncryptionPublicKey(encryption.public.raw) == encryption.public
    assert len({signing.public, SigningPublicKey(signing.public.raw)}) == 1
    assert len({encryption.public, EncryptionPublicKey(encryption.public.raw)}) == 1
    assert signing.public != encryption.public
    assert signing.public.verify(signing.sign(b"x"), b"x")
    assert not signing.public.verify(signing.sign(b"x"), b"y")
    assert encryption.unwrap(encryption.public.wrap(bytes(32), b"i"), b"i") == bytes(32)
    assert encryption.unwrap(encryption.public.wrap(bytes(32), b"i"), b"j") is None
    assert encryption.unwrap(b"short", b"i") is None
    for load in (SigningPrivateKey.from_bytes, SigningPublicKey, EncryptionPrivateKey, EncryptionPublicKey):
        with pytest.raises(ValueError, match=r"byte|32"):
            load(bytes(31))
