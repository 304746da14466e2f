"""What is read and written without protobuf is what protobuf reads and writes, in its canonical form only."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.envelope.world import World

from isthmus.v1 import envelope_pb2
from isthmus.wire import envelope as wire_envelope
from isthmus.wire import limits
from isthmus.wire.canonical import head, read, varint
from isthmus.wire.envelope import WRAP_BYTES, SealedWrap, encode_envelope, encode_parts, parse_envelope
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import KEY_ID_BYTES

TAG = b"\x1a"
BOUNDARIES = [0, 1, 127, 128, 129, 255, 256, 16_383, 16_384, 16_385, 2_097_151, 2_097_152, 4_194_304]
WORLD = World()
ENVELOPE = WORLD.request(recipients=("app-team",), labels=(("purpose", "billing"),)).envelope


def serialized(data: bytes) -> bytes:
    """Serialize an envelope again from its values alone: the definition of canonical."""
    message = envelope_pb2.Envelope.FromString(data)
    fresh = envelope_pb2.Envelope(header=message.header, body=message.body, signature=message.signature)
    for wrap in message.wraps:
        fresh.wraps.add(namespace=wrap.namespace, key_id=wrap.key_id, ciphertext=wrap.ciphertext)
    return fresh.SerializeToString(deterministic=True)


@given(number=st.integers(0, (1 << 64) - 1))
def test_number_is_written_as_protobuf_does(number: int) -> None:
    """Up to 64 bits."""
    message = envelope_pb2.EnvelopeHeader(sequence=number)
    assert (b"\x78" + varint(number) if number else b"") == message.SerializeToString()


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_number_is_refused_when_it_does_not_fit(number: int) -> None:
    """Rather than cut."""
    with pytest.raises(WireFormatError):
        varint(number)


@pytest.mark.parametrize("length", BOUNDARIES)
def test_field_of_any_length_is_written_as_protobuf_does_and_comes_back(length: int) -> None:
    """Around each length at which the length itself gets longer."""
    value = bytes(length)
    data = head(TAG, length) + value
    assert data == envelope_pb2.Envelope(body=value).SerializeToString()
    assert read(data, 0, TAG) == (value, len(data))
    assert read(b"xy" + data + b"z", 2, TAG) == (value, 2 + len(data))


@pytest.mark.parametrize("length", BOUNDARIES[1:10])
@pytest.mark.parametrize("padding", [1, 2])
def test_field_is_refused_when_its_length_is_overlong(length: int, padding: int) -> None:
    """Protobuf reads it; what is hashed must have one form."""
    shortest = varint(length)
    overlong = shortest[:-1] + bytes([shortest[-1] | 0x80]) + b"\x80" * (padding - 1) + b"\x00"
    data = TAG + overlong + bytes(length)
    assert len(envelope_pb2.Envelope.FromString(data).body) == length
    with pytest.raises(WireFormatError):
        read(data, 0, TAG)


@pytest.mark.parametrize(
    "data",
    [
        TAG,
        TAG + b"\x00",
        TAG + b"\x80",
        TAG + b"\x80\x00",
        TAG + b"\x02x",
        TAG + b"\x80\x01x",
        TAG + b"\xff" * 12,
    ],
)
def test_field_is_refused_when_it_is_empty_or_cut_off(data: bytes) -> None:
    """Nothing else is raised."""
    with pytest.raises(WireFormatError):
        read(data, 0, TAG)


@given(data=st.binary(max_size=40), tag=st.sampled_from([b"\x0a", b"\x12", b"\x1a"]))
def test_field_is_read_only_when_it_would_be_written_like_this(data: bytes, tag: bytes) -> None:
    """Whatever the bytes are: what is read begins with the tag and the shortest length, and ends in time."""
    try:
        value, end = read(data, 0, tag)
    except WireFormatError:
        return
    assert data[:end] == head(tag, len(value)) + value


PARTS = st.binary(min_size=1, max_size=300)


@given(
    header=PARTS, body=PARTS, signature=PARTS, names=st.lists(st.text(min_size=1, max_size=200), max_size=3)
)
def test_envelope_is_written_as_protobuf_does(
    header: bytes, body: bytes, signature: bytes, names: list[str]
) -> None:
    """Whatever its parts are."""
    wraps = tuple([SealedWrap(namespace=name, key_id=signature, ciphertext=body) for name in names])
    data = encode_parts(header, wraps, body, signature)
    message = envelope_pb2.Envelope.FromString(data)
    assert (message.header, message.body, message.signature) == (header, body, signature)
    assert [(wrap.namespace, wrap.key_id, wrap.ciphertext) for wrap in message.wraps] == list(wraps)
    assert serialized(data) == data


@given(
    namespaces=st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=3),
    filler=st.binary(min_size=1, max_size=1),
)
def test_wrap_of_the_usual_size_is_written_and_read_the_short_way(
    namespaces: list[str], filler: bytes
) -> None:
    """As protobuf does; and a wrap that is alone is read as any number of them are."""
    wraps = tuple([SealedWrap(name, filler * KEY_ID_BYTES, filler * WRAP_BYTES) for name in namespaces])
    data = encode_parts(b"header", wraps, b"body", b"signature")
    assert serialized(data) == data
    at, recipients = data.index(b"\x12"), tuple(namespaces)
    read_short = wire_envelope._usual_wrap(data, at, recipients)
    read_long = wire_envelope._read_wraps(data, at, recipients)
    assert read_long[0] == wraps
    assert read_short == (read_long if len(namespaces) == 1 else None)


@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(ENVELOPE)), st.integers(0, 2), st.binary(max_size=4)), max_size=3
    )
)
def test_envelope_is_accepted_only_when_its_values_serialize_to_it(
    edits: list[tuple[int, int, bytes]],
) -> None:
    """Whatever is done to the bytes: what still parses is canonical, by the slow definition too."""
    data = ENVELOPE
    for position, cut, inserted in edits:
        data = data[:position] + inserted + data[position + cut :]
    try:
        parsed = parse_envelope(data)
    except WireFormatError:
        return
    assert serialized(data) == data
    assert encode_envelope(parsed) == data


def test_wrap_is_read_the_short_way_when_the_message_has_one_recipient() -> None:
    """What is sealed has the size that the short cut is for."""
    envelope = parse_envelope(ENVELOPE)
    at = len(head(b"\x0a", len(envelope.header_bytes))) + len(envelope.header_bytes)
    found = wire_envelope._usual_wrap(ENVELOPE, at, envelope.header.recipients)
    assert found is not None
    assert found[0] == envelope.wraps


WRAP_VARIANTS: dict[str, Callable[[bytes], bytes]] = {
    "unknown field": lambda wrap: wrap + b"\xfa\x3f\x01x",
    "duplicate field": lambda wrap: wrap + wrap[-(len(wrap) - wrap.index(b"\x1a")) :],
    "reordered fields": lambda wrap: wrap[10:28] + wrap[:10] + wrap[28:],
    "explicit default": lambda wrap: b"\x0a\x00" + wrap,
    "overlong length": lambda wrap: wrap[:1] + b"\x88\x00" + wrap[2:],
    "overlong tag": lambda wrap: b"\x8a\x00" + wrap[1:],
    "not text": lambda wrap: wrap[:2] + b"\xff" + wrap[3:],
}


@pytest.mark.parametrize("variant", WRAP_VARIANTS)
def test_wrap_is_refused_when_it_is_not_canonical(variant: str) -> None:
    """The signature does not cover the wraps: only the parser can refuse."""
    message = envelope_pb2.Envelope.FromString(ENVELOPE)
    wrap = message.wraps[0].SerializeToString()
    assert wrap[:10] == b"\x0a\x08app-team"
    before, after = ENVELOPE.split(head(b"\x12", len(wrap)) + wrap)
    changed = WRAP_VARIANTS[variant](wrap)
    assert parse_envelope(before + head(b"\x12", len(wrap)) + wrap + after)
    with pytest.raises(WireFormatError):
        parse_envelope(before + head(b"\x12", len(changed)) + changed + after)


def test_envelope_is_refused_when_it_has_more_wraps_than_recipients() -> None:
    """However many there are, only as many are read."""
    message = envelope_pb2.Envelope.FromString(ENVELOPE)
    message.wraps.extend(message.wraps[0] for _ in range(limits.MAX_RECIPIENTS))
    with pytest.raises(WireFormatError, match="more wraps than recipients"):
        parse_envelope(message.SerializeToString())
