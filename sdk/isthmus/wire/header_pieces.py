"""A serialized header in pieces, two of which are the same in message after message.

The route (fields 1 to 10: what is called, by whom) and the terms (18 to 23: how long it may take, who may
read it, what it is labeled with) repeat; each is translated once and remembered. Fields 11 to 17, and the
fingerprint (24), are a message's own. Canonical serializations have their fields in the order of the numbers,
so that of a header is that of its pieces, one after the other.

Nothing here applies a rule to a value. Who remembers pieces keeps ``REMEMBERED`` of them, and only headers of
up to ``SHORT_BYTES`` are taken apart, so that strangers cannot fill the memory.
"""

import re
from functools import lru_cache

from google.protobuf.message import DecodeError

from isthmus.v1 import envelope_pb2
from isthmus.wire.canonical import head, varint
from isthmus.wire.errors import WireFormatError

Route = tuple[int, str, str, bytes, str, str, str, str, str]
"""Direction, trust domain, sender namespace and key id, principal, recipient namespace, and what is called:
endpoint, service, operation."""
Labels = tuple[tuple[str, str], ...]
Terms = tuple[int, int, int, tuple[str, ...], Labels, bytes]
"""The timeouts (schedule-to-start, start-to-close, schedule-to-close), recipients, labels, contract hash."""
Own = tuple[bytes, bytes, bytes, bytes, int, int, int]
"""Operation id, message id, request digest, session, sequence, times of issue and expiry."""

REMEMBERED = 4096
SHORT_BYTES = 1024
_FINGERPRINT_TAG = b"\xc2\x01"
_FINGERPRINT_BYTES = 32
_START_AT_TAG = b"\xc8\x01"
_BEFORE_FINGERPRINT = _FINGERPRINT_TAG + bytes([_FINGERPRINT_BYTES])
# Minimal, neither zero nor negative: the last byte has a bit set, and seven bits fit nine times into 63.
_VARINT = rb"([\x80-\xff]{0,8}[\x01-\x7f])"
_OWN = re.compile(
    rb"\x5a\x10(.{16})\x62\x10(.{16})(?:\x6a\x20(.{32}))?(?:\x72\x10(.{16}))?(?:\x78N)?"
    rb"(?:\x80\x01N)?(?:\x88\x01N)?".replace(b"N", _VARINT),
    re.DOTALL,
)
# Of a time only the last two bytes of seven bits, 16 seconds, differ from message to message.
_LOW_BITS = 14
_LOW_BYTES = 2
_LOW_CONTINUATIONS = 0x80 | 0x80 << 7


def split(data: bytes) -> tuple[bytes, Own, bytes, bytes] | None:
    """Take a header apart: the bytes of its route, its own fields, the bytes of its terms, its fingerprint.

    None when it is long, or nothing in it looks like a message's own fields in canonical serialization. What
    looks like them may be part of another field: then ``read_route`` and ``read_terms`` refuse the rest.
    """
    found = _OWN.search(data) if len(data) <= SHORT_BYTES else None
    if found is None:
        return None
    start, end = found.span()
    operation_id, message_id, digest, session, sequence, issued, expires = found.groups(b"")
    own = (
        operation_id, message_id, digest, session, _number(sequence) if sequence else 0,
        _number(issued) if issued else 0, _number(expires) if expires else 0,
    )  # fmt: skip
    last = len(data) - _FINGERPRINT_BYTES
    before = last - len(_BEFORE_FINGERPRINT)
    if end <= before and data.startswith(_BEFORE_FINGERPRINT, before):
        return data[:start], own, data[end:before], data[last:]
    return data[:start], own, data[end:], b""


def read_route(piece: bytes) -> tuple[str, Route]:
    """Read the suite and the route. Raises WireFormatError unless it is their one serialization, no more."""
    message = _parse(piece)
    route: Route = (
        message.direction, message.trust_domain, message.sender_namespace, message.sender_key_id,
        message.principal, message.recipient_namespace, message.endpoint, message.service, message.operation,
    )  # fmt: skip
    _check_same(write_route(message.suite, route), piece)
    return message.suite, route


def read_terms(piece: bytes) -> Terms:
    """Read the terms. Raises WireFormatError unless it is their one serialization, and nothing else."""
    message = _parse(piece)
    terms = (
        message.schedule_to_start_timeout_ms, message.start_to_close_timeout_ms,
        message.schedule_to_close_timeout_ms, tuple(message.recipients),
        tuple([(label.name, label.value) for label in message.labels]), message.contract_hash,
    )  # fmt: skip
    _check_same(write_terms(terms), piece)
    return terms


def write_route(suite: str, route: Route) -> bytes:
    """Serialize a suite and a route."""
    message = envelope_pb2.EnvelopeHeader()
    message.suite = suite
    direction, message.trust_domain, message.sender_namespace, message.sender_key_id, *rest = route
    message.direction = int(direction)  # type: ignore[assignment]
    message.principal, message.recipient_namespace, *called = rest
    message.endpoint, message.service, message.operation = called
    return message.SerializeToString(deterministic=True)


def write_own(own: Own) -> bytes:
    """Serialize a message's own fields, without the fingerprint, once they satisfy the rules.

    Raises WireFormatError when a time does not fit into its field.
    """
    operation_id, message_id, digest, session, sequence, issued, expires = own
    written = b"\x5a\x10" + operation_id + b"\x62\x10" + message_id
    if digest:
        written += b"\x6a\x20" + digest
    if session:
        written += b"\x72\x10" + session + b"\x78" + varint(sequence)
    written += b"\x80\x01" + _write_time(issued)
    return written + b"\x88\x01" + _write_time(expires) if expires else written


def write_terms(terms: Terms) -> bytes:
    """Serialize terms that satisfy the rules."""
    message = envelope_pb2.EnvelopeHeader()
    message.schedule_to_start_timeout_ms, message.start_to_close_timeout_ms = terms[:2]
    message.schedule_to_close_timeout_ms, recipients, labels, message.contract_hash = terms[2:]
    message.recipients.extend(recipients)
    for name, value in labels:
        message.labels.add(name=name, value=value)
    return message.SerializeToString(deterministic=True)


def write_fingerprint(fingerprint: bytes) -> bytes:
    """Serialize a fingerprint."""
    return head(_FINGERPRINT_TAG, len(fingerprint)) + fingerprint


def write_start_at(start_at_ms: int) -> bytes:
    """Serialize the moment that a request is put off to."""
    return _START_AT_TAG + _write_time(start_at_ms)


def _number(varint_: bytes) -> int:
    if len(varint_) <= _LOW_BYTES:
        return _whole_number(varint_)
    low = varint_[0] + (varint_[1] << 7) - _LOW_CONTINUATIONS
    return low | _known_number(varint_[_LOW_BYTES:]) << _LOW_BITS


def _whole_number(varint_: bytes) -> int:
    number = 0
    for byte in reversed(varint_):
        number = number << 7 | byte & 0x7F
    return number


def _write_time(time_ms: int) -> bytes:
    high = time_ms >> _LOW_BITS
    if 0 < high < 1 << 63 - _LOW_BITS:
        return bytes((time_ms & 0x7F | 0x80, time_ms >> 7 & 0x7F | 0x80)) + _known_varint(high)
    if high:
        raise WireFormatError("a time is out of range")
    return varint(time_ms)


_known_number = lru_cache(maxsize=REMEMBERED)(_whole_number)
_known_varint = lru_cache(maxsize=REMEMBERED)(varint)


def _parse(piece: bytes) -> envelope_pb2.EnvelopeHeader:
    message = envelope_pb2.EnvelopeHeader()
    try:
        message.ParseFromString(piece)
    except DecodeError:
        raise WireFormatError("a piece of a header is not a protobuf message") from None
    return message


def _check_same(written: bytes, piece: bytes) -> None:
    if written != piece:
        raise WireFormatError("a piece of a header is not in its canonical serialization")
