"""A serialized header in pieces, two of which are the same in message after message.

The route (fields 1 to 10: what is called, by whom) and the readers (21 to 23: who may read it, what it is
labeled with) repeat; each is translated once and remembered. Fields 11 to 20, and the fingerprint (24), are a
message's own. Canonical serializations have their fields in the order of the numbers, so that of a header is
that of its pieces, one after the other.

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
Readers = tuple[tuple[str, ...], Labels, bytes]
"""Recipients, labels, contract hash."""
Own = tuple[bytes, bytes, bytes, bytes, int, int, int, int, int, int]
"""Operation id, message id, request digest, session, sequence, times of issue and expiry, the timeouts."""

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
    rb"(?:\x80\x01N)?(?:\x88\x01N)?(?:\x90\x01N)?(?:\x98\x01N)?(?:\xa0\x01N)?".replace(b"N", _VARINT),
    re.DOTALL,
)
# Times from 1971 to 2109 are six bytes, which are read and written at once. Masking each would cost
# more than to subtract what the continuation bits of five of them add up to.
_BYTES_OF_A_TIME = 6
_CONTINUATIONS_OF_A_TIME = sum(0x80 << 7 * place for place in range(5))


def split(data: bytes) -> tuple[bytes, Own, bytes, bytes] | None:
    """Take a header apart: the bytes of its route, its own fields, the bytes of its readers, its fingerprint.

    None when it is long, or nothing in it looks like a message's own fields in canonical serialization. What
    looks like them may be part of another field: then ``read_route`` and ``read_readers`` refuse the rest.
    """
    found = _OWN.search(data) if len(data) <= SHORT_BYTES else None
    if found is None:
        return None
    start, end = found.span()
    operation_id, message_id, digest, session, sequence, issued, expires, *timeouts = found.groups(b"")
    to_start, running, whole = timeouts
    own = (
        operation_id, message_id, digest, session, _number(sequence) if sequence else 0,
        _number(issued) if issued else 0, _number(expires) if expires else 0,
        _timeout(to_start) if to_start else 0, _timeout(running) if running else 0,
        _timeout(whole) if whole else 0,
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


def read_readers(piece: bytes) -> Readers:
    """Read the readers. Raises WireFormatError unless it is their one serialization, and nothing else."""
    message = _parse(piece)
    labels = tuple([(label.name, label.value) for label in message.labels])
    readers = (tuple(message.recipients), labels, message.contract_hash)
    _check_same(write_readers(*readers), piece)
    return readers


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
    operation_id, message_id, digest, session, sequence, issued, expires, to_start, running, whole = own
    written = b"\x5a\x10" + operation_id + b"\x62\x10" + message_id
    if digest:
        written += b"\x6a\x20" + digest
    if session:
        written += b"\x72\x10" + session + b"\x78" + varint(sequence)
    written += b"\x80\x01" + _write_time(issued)
    if expires:
        written += b"\x88\x01" + _write_time(expires)
    if to_start:
        written += b"\x90\x01" + _write_timeout(to_start)
    if running:
        written += b"\x98\x01" + _write_timeout(running)
    if whole:
        written += b"\xa0\x01" + _write_timeout(whole)
    return written


def write_readers(recipients: tuple[str, ...], labels: Labels, contract_hash: bytes) -> bytes:
    """Serialize readers."""
    message = envelope_pb2.EnvelopeHeader()
    message.recipients.extend(recipients)
    for name, value in labels:
        message.labels.add(name=name, value=value)
    message.contract_hash = contract_hash
    return message.SerializeToString(deterministic=True)


def write_fingerprint(fingerprint: bytes) -> bytes:
    """Serialize a fingerprint."""
    return head(_FINGERPRINT_TAG, len(fingerprint)) + fingerprint


def write_start_at(start_at_ms: int) -> bytes:
    """Serialize the moment that a request is put off to."""
    return _START_AT_TAG + _write_time(start_at_ms)


def _number(varint_: bytes) -> int:
    if len(varint_) == _BYTES_OF_A_TIME:
        a, b, c, d, e, f = varint_
        return a + (b << 7) + (c << 14) + (d << 21) + (e << 28) + (f << 35) - _CONTINUATIONS_OF_A_TIME
    number = 0
    for byte in reversed(varint_):
        number = number << 7 | byte & 0x7F
    return number


def _write_time(time_ms: int) -> bytes:
    if time_ms >> 35 and not time_ms >> 42:
        return bytes((
            time_ms & 0x7F | 0x80, time_ms >> 7 & 0x7F | 0x80, time_ms >> 14 & 0x7F | 0x80,
            time_ms >> 21 & 0x7F | 0x80, time_ms >> 28 & 0x7F | 0x80, time_ms >> 35,
        ))  # fmt: skip
    if time_ms >> 63:
        raise WireFormatError("a time is out of range")
    return varint(time_ms)


# Times differ from message to message, but timeouts are configured.
_timeout = lru_cache(maxsize=REMEMBERED)(_number)
_write_timeout = lru_cache(maxsize=REMEMBERED)(varint)


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
