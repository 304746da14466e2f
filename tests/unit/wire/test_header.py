"""Exactly one serialization of each header is accepted, for every direction."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.envelope.world import World

from isthmus.envelope import binding
from isthmus.v1 import envelope_pb2
from isthmus.wire.envelope import parse_envelope, signed_bytes
from isthmus.wire.errors import WireFormatError
from isthmus.wire.header import Direction, Header, encode_header, parse_header
from isthmus.wire.pae import pae

WORLD = World()
LABELS = st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=4)


def rebuilt(data: bytes) -> bytes:
    """Serialize a header again from its values alone, field by field: the definition of canonical."""
    message = envelope_pb2.EnvelopeHeader.FromString(data)
    fresh = envelope_pb2.EnvelopeHeader()
    for field in fields(Header):
        value = getattr(message, field.name)
        if field.name == "labels":
            for label in value:
                fresh.labels.add(name=label.name, value=label.value)
        elif field.name == "recipients":
            fresh.recipients.extend(value)
        else:
            setattr(fresh, field.name, value)
    return fresh.SerializeToString(deterministic=True)


def header(direction: Direction, labels: dict[str, str]) -> Header:
    """Return a valid header of a direction."""
    to_self = direction in {Direction.STARTED, Direction.DETAILS, Direction.CONTEXT}
    return WORLD.header(
        direction,
        WORLD.caller,
        WORLD.caller if to_self else WORLD.handler,
        request_digest=b"" if direction is Direction.REQUEST else bytes(32),
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
