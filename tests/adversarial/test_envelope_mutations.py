"""Envelopes changed at random, byte by byte, field by field: none opens, and only refusals are raised."""

import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.envelope.world import (
    NOW_MS,
    World,
    fixed_bytes,
    padded,
    parse_without_checks,
    parts,
    seal_anything,
    serialize_without_checks,
    with_header,
)

from isthmus.envelope.errors import EnvelopeRejectedError, KeyUnavailableError, RejectionReason
from isthmus.v1 import envelope_pb2
from isthmus.wire import limits
from isthmus.wire.errors import WireFormatError
from isthmus.wire.header import Direction, Header, encode_header, parse_header

MUTATIONS = int(os.environ.get("ISTHMUS_ENVELOPE_MUTATIONS", "100000"))
REFUSED = (EnvelopeRejectedError, KeyUnavailableError)


@pytest.fixture
def world() -> World:
    """Three namespaces and a stranger."""
    return World()


@pytest.fixture
def envelope(world: World) -> bytes:
    """A request for the handler alone: every byte of it matters to the handler."""
    data = world.request(recipients=(world.handler.namespace,), labels=(("purpose", "billing"),)).envelope
    assert world.open_request(data).header.direction is Direction.REQUEST
    return data


def test_no_envelope_opens_when_any_single_byte_differs(world: World, envelope: bytes) -> None:
    """One bit and all bits of every byte."""
    for position in range(len(envelope)):
        for flip in (1 << position % 8, 0xFF):
            mutated = bytearray(envelope)
            mutated[position] ^= flip
            with pytest.raises(REFUSED):
                world.open_request(bytes(mutated))


def test_no_envelope_opens_when_it_is_cut_anywhere(world: World, envelope: bytes) -> None:
    """Every prefix and every suffix."""
    for position in range(len(envelope)):
        with pytest.raises(REFUSED):
            world.open_request(envelope[:position])
        with pytest.raises(REFUSED):
            world.open_request(envelope[position + 1 :])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_envelope_opens_when_it_is_mutated_at_random(world: World, envelope: bytes) -> None:
    """10⁵ mutations, or as many as ISTHMUS_ENVELOPE_MUTATIONS says; the seed is printed."""
    seed = int(os.environ.get("ISTHMUS_ENVELOPE_SEED", str(random.SystemRandom().randrange(1 << 32))))
    print(f"ISTHMUS_ENVELOPE_SEED={seed}")  # noqa: T201 - shown when the test fails
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    other = world.request(
        recipients=(world.handler.namespace,), operation_id=fixed_bytes("other", 16)
    ).envelope
    opened = 0
    for _ in range(MUTATIONS):
        mutated = _mutate(envelope, other, chance)
        if mutated == envelope:
            continue
        try:
            world.open_request(mutated)
        except REFUSED:
            continue
        opened += 1
    assert opened == 0


def test_wrap_of_another_recipient_is_only_that_recipients_business_when_it_changes(world: World) -> None:
    """Wraps are outside the signature, so that a recipient can re-wrap; digest and payload stay the same."""
    sealed = world.request()
    message = parts(sealed.envelope)
    assert message.wraps[1].namespace == world.caller.namespace
    message.wraps[1].ciphertext = bytes(len(message.wraps[1].ciphertext))
    data = message.SerializeToString()
    assert world.open_request(data).digest == sealed.digest
    with pytest.raises(EnvelopeRejectedError) as caught:
        world.open(data, world.expect_request(), sender=world.caller, opener=world.caller)
    assert caught.value.reason is RejectionReason.WRAP


CHANGES: dict[str, Any] = {
    "direction": Direction.CANCEL,
    "trust_domain": "evil",
    "sender_namespace": "mallory",
    "sender_key_id": fixed_bytes("another key", 16),
    "principal": "spiffe://acme/root",
    "recipient_namespace": "data-team",
    "endpoint": "payouts",
    "service": "Payouts",
    "operation": "refund",
    "operation_id": fixed_bytes("another operation", 16),
    "message_id": fixed_bytes("another message", 16),
    "request_digest": fixed_bytes("a digest"),
    "sender_session": fixed_bytes("a session", 16),
    "sequence": 7,
    "issued_at_ms": NOW_MS - 1,
    "expires_at_ms": NOW_MS + 1,
    "schedule_to_start_timeout_ms": 1,
    "start_to_close_timeout_ms": 1,
    "schedule_to_close_timeout_ms": 1,
    "recipients": ("app-team",),
    "labels": (("purpose", "fun"),),
    "contract_hash": fixed_bytes("a contract"),
    "fingerprint": fixed_bytes("a fingerprint"),
    "start_at_ms": NOW_MS + 1,
    "suite": "ISE2",
}


@pytest.mark.parametrize("name", Header._fields)
def test_attack_01_each_header_field_is_bound_when_the_gateway_changes_it(world: World, name: str) -> None:
    """A header with one other field is refused, whether it is still valid or not."""
    data = world.request().envelope
    message = parts(data)
    header = parse_without_checks(message.header)
    changed = header._replace(**{name: CHANGES[name]})
    assert changed != header
    message.header = serialize_without_checks(changed)
    with pytest.raises(REFUSED):
        world.open_request(message.SerializeToString(), operation_id=None)


FIELD_CHECKS: dict[str, tuple[Any, Any]] = {
    "endpoint": ("payments", "payouts"),
    "service": ("Payments", "Payouts"),
    "operation": ("charge", "refund"),
    "operation_id": (fixed_bytes("operation", 16), fixed_bytes("other", 16)),
    "principal": ("spiffe://acme/data-team", "spiffe://acme/root"),
    "contract_hash": (b"", fixed_bytes("contract")),
    "labels": ((), (("purpose", "billing"),)),
    "recipients": (("app-team", "data-team"), ("app-team",)),
    "trust_domain": ("acme", "evil"),
    "sender_namespace": ("data-team", "mallory"),
    "recipient_namespace": ("app-team", "data-team"),
    "directions": (frozenset({Direction.REQUEST}), frozenset({Direction.CONTEXT})),
}


@pytest.mark.parametrize("name", FIELD_CHECKS)
def test_signed_header_is_refused_when_local_state_says_otherwise(world: World, name: str) -> None:
    """Every field of Expected is compared, on a message that is authentic."""
    data = world.request().envelope
    right, wrong = FIELD_CHECKS[name]
    assert world.open_request(data, **{name: right}).header.direction is Direction.REQUEST
    with pytest.raises(EnvelopeRejectedError):
        world.open_request(data, **{name: wrong})


HEADER_VARIANTS: dict[str, Callable[[bytes], bytes]] = {
    "duplicate field": lambda data: data + data[:2] + data[2 : 2 + data[1]],
    "reordered fields": lambda data: data[2 + data[1] :] + data[: 2 + data[1]],
    "overlong length": lambda data: data[:1] + bytes([data[1] | 0x80, 0]) + data[2:],
    "overlong tag": lambda data: bytes([data[0] | 0x80, 0]) + data[1:],
    "explicit default": lambda data: data + b"\x78\x00",
    "explicit empty field": lambda data: data + b"\xba\x01\x00",
    "unknown field": lambda data: data + b"\xfa\x3f\x01x",
    "unknown varint": lambda data: data + b"\xf8\x3f\x01",
    "unknown group": lambda data: data + b"\xfb\x3f\xfc\x3f",
    "unknown field in a label": lambda data: data + b"\xb2\x01\x06\x0a\x01z\x1a\x01x",
}


@pytest.mark.parametrize("variant", HEADER_VARIANTS)
def test_attack_22_header_is_refused_when_it_is_not_canonical(world: World, variant: str) -> None:
    """The sender itself signed it: only the parser can refuse."""
    header = world.header(Direction.REQUEST, world.caller, world.handler)
    canonical = encode_header(header)
    assert canonical[:1] == b"\x0a"
    header_bytes = HEADER_VARIANTS[variant](canonical)
    with pytest.raises(WireFormatError):
        parse_header(header_bytes)
    data = seal_anything(
        header_bytes,
        padded(),
        signer=world.caller.signing,
        recipients=world.recipients(header.recipients),
        header=header,
    )
    with pytest.raises(EnvelopeRejectedError) as caught:
        world.open_request(data)
    assert caught.value.reason is RejectionReason.MALFORMED


@pytest.mark.parametrize("variant", [name for name in HEADER_VARIANTS if "label" not in name])
def test_attack_22_envelope_is_refused_when_it_is_not_canonical(world: World, variant: str) -> None:
    """The gateway reserializes the outer message."""
    signature = parts(world.request().envelope).signature
    outer = world.request().envelope
    if variant.startswith("overlong"):
        # The header is longer than 127 bytes: its length has two bytes already.
        mutated = {
            "overlong length": outer[:1] + bytes([outer[1], outer[2] | 0x80, 0]) + outer[3:],
            "overlong tag": bytes([outer[0] | 0x80, 0]) + outer[1:],
        }[variant]
    elif variant == "reordered fields":
        mutated = outer[-len(signature) - 2 :] + outer[: -len(signature) - 2]
    elif variant == "duplicate field":
        mutated = outer + outer[-len(signature) - 2 :]
    else:
        mutated = HEADER_VARIANTS[variant](outer)
    assert envelope_pb2.Envelope.FromString(mutated).header == parts(outer).header
    with pytest.raises(EnvelopeRejectedError):
        world.open_request(mutated)


OVERSIZE: dict[str, Callable[[envelope_pb2.Envelope], object]] = {
    "envelope": lambda m: setattr(m, "body", bytes(limits.MAX_ENVELOPE_BYTES)),
    "body": lambda m: setattr(m, "body", bytes(limits.MAX_BODY_BYTES + 1)),
    "no body": lambda m: setattr(m, "body", b""),
    "header": lambda m: setattr(m, "header", bytes(limits.MAX_HEADER_BYTES + 1)),
    "signature": lambda m: setattr(m, "signature", bytes(65)),
    "no signature": lambda m: setattr(m, "signature", b""),
    "wrap": lambda m: setattr(m.wraps[0], "ciphertext", bytes(4097)),
    "no wrap": lambda m: setattr(m.wraps[0], "ciphertext", b""),
    "key id": lambda m: setattr(m.wraps[0], "key_id", bytes(17)),
    "wraps": lambda m: m.wraps.extend(m.wraps[0] for _ in range(1000)),
}


@pytest.mark.parametrize("what", OVERSIZE)
def test_attack_31_envelope_is_refused_when_a_part_has_the_wrong_size(world: World, what: str) -> None:
    """Before anything is hashed, verified or decrypted."""
    message = parts(world.request().envelope)
    OVERSIZE[what](message)
    with pytest.raises(EnvelopeRejectedError) as caught:
        world.open_request(message.SerializeToString())
    assert caught.value.reason in {RejectionReason.TOO_LARGE, RejectionReason.MALFORMED}


OVERSIZE_FIELDS: dict[str, Any] = {
    "trust_domain": "a" * 256,
    "sender_namespace": "a" * 64,
    "sender_key_id": bytes(17),
    "principal": "a" * 1025,
    "endpoint": "a" * 201,
    "service": "a" * 1001,
    "operation": "a" * 1001,
    "operation_id": bytes(17),
    "message_id": bytes(17),
    "request_digest": bytes(33),
    "sender_session": bytes(16),
    "sequence": 1,
    "issued_at_ms": 0,
    "expires_at_ms": 0,
    "schedule_to_start_timeout_ms": limits.MAX_SCHEDULE_TO_CLOSE_MS,
    "start_to_close_timeout_ms": -1,
    "schedule_to_close_timeout_ms": limits.MAX_SCHEDULE_TO_CLOSE_MS + 1,
    "recipients": tuple(f"n{number:02}" for number in range(17)),
    "labels": tuple((f"n{number:02}", "") for number in range(65)),
    "contract_hash": bytes(31),
    "fingerprint": bytes(33),
    "start_at_ms": -1,
}


@pytest.mark.parametrize("name", OVERSIZE_FIELDS)
def test_attack_31_header_is_refused_when_a_field_is_out_of_range(world: World, name: str) -> None:
    """At both ends: it is neither sealed nor parsed."""
    header = world.header(Direction.REQUEST, world.caller, world.handler)
    changed = header._replace(**{name: OVERSIZE_FIELDS[name]})
    with pytest.raises(WireFormatError):
        encode_header(changed)
    with pytest.raises(WireFormatError):
        parse_header(serialize_without_checks(changed))


def test_header_change_is_refused_when_it_is_the_identity_that_changes(world: World) -> None:
    """The helper that changes headers does change them: unchanged, the envelope opens."""
    data = world.request().envelope
    assert with_header(data) == data
    assert world.open_request(with_header(data)).header.direction is Direction.REQUEST


def _mutate(data: bytes, other: bytes, chance: random.Random) -> bytes:
    mutated = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        position = chance.randrange(len(mutated) + 1) if mutated else 0
        length = chance.choice((1, 1, 2, 16, 100))
        match chance.randrange(6):
            case 0:
                mutated[position : position + 1] = bytes([chance.randrange(256)])
            case 1:
                del mutated[position : position + length]
            case 2:
                mutated[position:position] = chance.randbytes(length)
            case 3:
                mutated[position:position] = mutated[position : position + length]
            case 4:
                mutated[position : position + length] = other[position : position + length]
            case _:
                if position < len(mutated):
                    mutated[position] ^= 1 << chance.randrange(8)
    return bytes(mutated)
