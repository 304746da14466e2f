"""Exactly one serialization of each header is accepted, for every direction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.envelope.world import World, serialize_without_checks

from isthmus.envelope import binding
from isthmus.v1 import envelope_pb2
from isthmus.wire import header as wire_header
from isthmus.wire.canonical import varint
from isthmus.wire.envelope import parse_envelope, signed_bytes
from isthmus.wire.errors import UnknownSuiteError, WireFormatError
from isthmus.wire.header import Direction, Header, encode_header, parse_header
from isthmus.wire.pae import pae

WORLD = World()
LABELS = st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=4)


def rebuilt(data: bytes) -> bytes:
    """Serialize a header again from its values alone, field by field: the definition of canonical."""
    message = envelope_pb2.EnvelopeHeader.FromString(data)
    fresh = envelope_pb2.EnvelopeHeader()
    for name in Header._fields:
        value = getattr(message, name)
        if name == "labels":
            for label in value:
                fresh.labels.add(name=label.name, value=label.value)
        elif name == "recipients":
            fresh.recipients.extend(value)
        else:
            setattr(fresh, name, value)
    return fresh.SerializeToString(deterministic=True)


def header(direction: Direction, labels: dict[str, str]) -> Header:
    """Return a valid header of a direction."""
    to_self = direction in {Direction.STARTED, Direction.DETAILS, Direction.CONTEXT}
    return WORLD.header(
        direction,
        WORLD.caller,
        WORLD.caller if to_self else WORLD.handler,
        request_digest=b"" if direction in {Direction.REQUEST, Direction.EVENT} else bytes(32),
        labels=tuple(sorted(labels.items())),
    )


@given(direction=st.sampled_from(Direction), labels=LABELS)
def test_header_comes_back_when_it_was_encoded(direction: Direction, labels: dict[str, str]) -> None:
    """Equal values, equal bytes."""
    made = header(direction, labels)
    data = encode_header(made)
    assert parse_header(data) == made
    assert rebuilt(data) == data


@given(
    direction=st.sampled_from(Direction),
    labels=LABELS,
    edits=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 2), st.binary(max_size=4)), max_size=3),
)
def test_header_is_accepted_only_when_its_values_serialize_to_it(
    direction: Direction, labels: dict[str, str], edits: list[tuple[int, int, bytes]]
) -> None:
    """Whatever is done to the bytes: what still parses is canonical, by the slow definition too."""
    data = encode_header(header(direction, labels))
    for position, cut, inserted in edits:
        data = data[:position] + inserted + data[position + cut :]
    try:
        parsed = parse_header(data)
    except WireFormatError:
        return
    assert rebuilt(data) == data
    assert encode_header(parsed) == data


TIMES = st.one_of(
    st.integers(1, (1 << 63) - 2),
    *[st.integers((1 << bits) - 3, (1 << bits) + 3) for bits in (28, 35, 42, 49)],
)


@given(
    direction=st.sampled_from(Direction),
    labels=LABELS,
    issued_at_ms=TIMES,
    principal=st.text(min_size=1, max_size=40),
    hashes=st.lists(st.sampled_from([b"", b"\xc2\x01\x20" + bytes(29)]), min_size=2, max_size=2),
)
def test_header_of_any_values_is_read_by_its_pieces_as_it_is_as_a_whole(
    direction: Direction,
    labels: dict[str, str],
    issued_at_ms: int,
    principal: str,
    hashes: list[bytes],
) -> None:
    """The short cut is taken, and leads to where the long way does."""
    made = header(direction, labels)
    asks = direction in {Direction.REQUEST, Direction.CANCEL, Direction.SIGNAL}
    made = made._replace(
        issued_at_ms=issued_at_ms,
        expires_at_ms=issued_at_ms + 1 if asks else 0,
        principal=principal,
        contract_hash=hashes[0],
        fingerprint=hashes[1] if direction is Direction.REQUEST else b"",
    )
    data = encode_header(made)
    assert rebuilt(data) == data
    assert wire_header._read_pieces(data) == wire_header._read_whole(data) == made


@given(
    direction=st.sampled_from(Direction),
    labels=LABELS,
    edits=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 2), st.binary(max_size=4)), max_size=3),
)
def test_header_is_never_accepted_by_its_pieces_only(
    direction: Direction, labels: dict[str, str], edits: list[tuple[int, int, bytes]]
) -> None:
    """Whatever is done to the bytes: the short cut accepts nothing that the definition refuses."""
    data = encode_header(header(direction, labels))
    for position, cut, inserted in edits:
        data = data[:position] + inserted + data[position + cut :]
    try:
        parsed = wire_header._read_pieces(data)
    except WireFormatError:
        with pytest.raises(WireFormatError):
            wire_header._read_whole(data)
    else:
        assert parsed is None or parsed == wire_header._read_whole(data)


def test_header_is_read_as_a_whole_when_a_field_imitates_the_messages_own() -> None:
    """The cut is wrong then: the header is valid all the same, and no piece of it is remembered."""
    imitation = "\x5a\x10" + "o" * 16 + "\x62\x10" + "m" * 14 + "é" + "the rest"
    made = header(Direction.REQUEST, {})._replace(principal=imitation)
    data = encode_header(made)
    assert wire_header._read_pieces(data) is None
    assert parse_header(data) == made


ISSUED = varint(header(Direction.REQUEST, {}).issued_at_ms)
NUMBERS: dict[str, bytes] = {
    "overlong": ISSUED[:-1] + bytes([ISSUED[-1] | 0x80]) + b"\x00",
    "overlong twice": ISSUED[:-1] + bytes([ISSUED[-1] | 0x80]) + b"\x80\x00",
    "explicit default": b"\x00",
    "overlong default": b"\x80\x00",
    "negative": b"\xff" * 9 + b"\x01",
    "too large": b"\xff" * 9 + b"\x02",
    "cut off": b"\x80",
}
FIELDS: dict[str, bytes] = {
    "sequence": b"\x78",
    "issued_at": b"\x80\x01",
    "expires_at": b"\x88\x01",
    "schedule_to_start_timeout": b"\x90\x01",
    "start_to_close_timeout": b"\x98\x01",
    "schedule_to_close_timeout": b"\xa0\x01",
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("number", NUMBERS)
def test_header_is_refused_when_a_number_is_not_canonical(field: str, number: str) -> None:
    """Of each field, whether the field belongs into the message or not."""
    made = header(Direction.REQUEST, {})
    written = {
        "sequence": b"",
        "issued_at": b"\x80\x01" + ISSUED,
        "expires_at": b"\x88\x01" + varint(made.expires_at_ms),
        "schedule_to_start_timeout": b"\x90\x01\x07",
        "start_to_close_timeout": b"\x98\x01\x07",
        "schedule_to_close_timeout": b"\xa0\x01" + varint(made.schedule_to_close_timeout_ms),
    }
    made = made._replace(schedule_to_start_timeout_ms=7, start_to_close_timeout_ms=7)
    data = encode_header(made)
    before, after = data.split(b"".join(written.values()))
    assert parse_header(before + b"".join(written.values()) + after) == made
    written[field] = FIELDS[field] + NUMBERS[number]
    with pytest.raises(WireFormatError):
        parse_header(before + b"".join(written.values()) + after)


def test_header_is_refused_when_its_suite_is_another() -> None:
    """By name, so that whoever reads the log knows what to do."""
    with pytest.raises(UnknownSuiteError):
        parse_header(serialize_without_checks(header(Direction.REQUEST, {})._replace(suite="ISE2")))


def test_header_is_read_as_a_whole_when_it_is_long() -> None:
    """What strangers send does not fill the memory."""
    made = header(Direction.REQUEST, {"purpose": "x" * 1000})
    data = encode_header(made)
    assert wire_header._read_pieces(data) is None
    assert parse_header(data) == made


@pytest.mark.parametrize("issued_at_ms", [(1 << 63) - 1, 1 << 63])
def test_header_is_refused_when_a_time_does_not_fit_into_its_field(issued_at_ms: int) -> None:
    """Rather than wrapped around."""
    made = header(Direction.REQUEST, {})
    with pytest.raises(WireFormatError, match="time"):
        encode_header(made._replace(issued_at_ms=issued_at_ms, expires_at_ms=issued_at_ms + 1))


def _accept(_message: object, _data: bytes) -> None:
    """Stand in for a check that was removed."""


def test_piece_is_not_remembered_when_checks_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was let through without a check is refused once the check is back."""
    data = encode_header(header(Direction.REQUEST, {})) + b"\xfa\x3f\x01x"
    with monkeypatch.context() as patch:
        patch.setattr(wire_header, "check_canonical", _accept)
        assert parse_header(data).direction is Direction.REQUEST
    with pytest.raises(WireFormatError, match="canonical"):
        parse_header(data)


@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_and_nothing_else_is_raised(data: bytes) -> None:
    """By both parsers."""
    for parse in (parse_header, parse_envelope):
        with pytest.raises(WireFormatError):
            parse(data)


@given(
    parts=st.lists(st.binary(max_size=20), max_size=5), others=st.lists(st.binary(max_size=20), max_size=5)
)
def test_pae_is_injective(parts: list[bytes], others: list[bytes]) -> None:
    """Two lists encode alike exactly when they are alike."""
    assert (pae(*parts) == pae(*others)) == (parts == others)


@given(
    first=st.binary(min_size=32, max_size=32),
    second=st.binary(min_size=32, max_size=32),
    namespace=st.text(max_size=10),
    key_id=st.binary(min_size=16, max_size=16),
)
def test_bindings_are_pae_when_they_are_computed_the_short_way(
    first: bytes, second: bytes, namespace: str, key_id: bytes
) -> None:
    """The prefixes that are prepared are those of PAE."""
    assert signed_bytes(first, second) == pae("ise1/sig", first, second)
    assert binding.body_context(first) == pae("ise1/body", first)
    assert binding.wrap_info(first, namespace, key_id) == pae("ise1/wrap", first, namespace, key_id)


def test_bindings_refuse_hashes_of_another_size() -> None:
    """A short hash must not shift what comes after it."""
    with pytest.raises(ValueError, match="bytes"):
        signed_bytes(bytes(31), bytes(33))
    with pytest.raises(ValueError, match="bytes"):
        binding.body_context(bytes(33))
    with pytest.raises(ValueError, match="bytes"):
        binding.wrap_info(bytes(32), "app-team", bytes(15))


WHOLE_MS = header(Direction.REQUEST, {}).schedule_to_close_timeout_ms
ISSUED_MS = header(Direction.REQUEST, {}).issued_at_ms


@given(
    delay_ms=st.integers(1 - ISSUED_MS, WHOLE_MS - 1),
    labels=LABELS,
    fingerprint=st.sampled_from((b"", bytes(32))),
)
def test_start_comes_back_when_it_is_put_off(
    delay_ms: int, labels: dict[str, str], fingerprint: bytes
) -> None:
    """A moment more than nothing, in its one serialization, behind everything else."""
    made = header(Direction.REQUEST, labels)._replace(
        start_at_ms=ISSUED_MS + delay_ms, fingerprint=fingerprint
    )
    data = encode_header(made)
    assert parse_header(data) == made
    assert rebuilt(data) == data
    at = varint(made.start_at_ms)
    assert data.endswith(b"\xc8\x01" + at)
    for other in (
        data + b"\xc8\x01" + at,
        data[: -len(at)] + at[:-1] + bytes([at[-1] | 0x80, 0]),
        data[: -len(at)] + b"\x00",
        data[: -len(at) - 2] + b"\xd0\x01" + at,
    ):
        with pytest.raises(WireFormatError):
            parse_header(other)


@pytest.mark.parametrize("start_at_ms", [-1, ISSUED_MS + WHOLE_MS, 2**63 - 1])
def test_start_is_refused_when_it_is_no_moment_of_its_life(start_at_ms: int) -> None:
    """It would time out before it begins."""
    made = header(Direction.REQUEST, {})._replace(start_at_ms=start_at_ms)
    with pytest.raises(WireFormatError):
        encode_header(made)
    message = envelope_pb2.EnvelopeHeader.FromString(encode_header(made._replace(start_at_ms=0)))
    message.start_at_ms = start_at_ms
    with pytest.raises(WireFormatError):
        parse_header(message.SerializeToString(deterministic=True))


@pytest.mark.parametrize("direction", [one for one in Direction if one is not Direction.REQUEST])
def test_start_is_refused_when_it_is_no_request(direction: Direction) -> None:
    """Nothing else is put off."""
    made = header(direction, {})._replace(start_at_ms=ISSUED_MS + 1)
    with pytest.raises(WireFormatError, match="only for requests"):
        encode_header(made)
