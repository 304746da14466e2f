"""The authenticated clear part of an envelope, parsed strictly.

A header is hashed as transmitted, so exactly one serialization of each header is accepted: the one that
``encode_header`` makes of its values. That refuses unknown fields, duplicated or reordered fields, explicit
defaults and overlong varints at once.
"""

from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from google.protobuf.message import DecodeError, Message

from isthmus.v1 import envelope_pb2
from isthmus.wire import header_pieces as pieces
from isthmus.wire import limits, names
from isthmus.wire.errors import UnknownSuiteError, WireFormatError
from isthmus.wire.names import KeyId, NamespaceName, OperationId

MESSAGE_ID_BYTES = 16
SESSION_BYTES = 16
SUITE = "ISE1-XWING-HKDFSHA256-AES256GCM-COBBLE256-ED25519"


class Direction(IntEnum):
    """What a message is, seen from its operation; the numbers are those of ``isthmus.v1.Direction``."""

    REQUEST = 1
    STARTED = 2
    RESULT = 3
    FAILURE = 4
    CANCELED = 5
    CANCEL = 6
    SIGNAL = 7
    PROGRESS = 8
    DETAILS = 9
    CONTEXT = 10
    EVENT = 11

    # Enum hashes the name, in Python; every message looks its direction up in several sets.
    __hash__ = int.__hash__


OUTCOMES = frozenset({Direction.RESULT, Direction.FAILURE, Direction.CANCELED})
"""Directions that can end an operation."""

# No sets: to find a member among three by its identity is faster than to hash it.
FROM_CALLER = (Direction.REQUEST, Direction.CANCEL, Direction.SIGNAL)
"""What goes from the caller to the handler, and is good for a time."""
_ORDERED = (Direction.SIGNAL, Direction.PROGRESS)
_TO_SELF = (Direction.STARTED, Direction.DETAILS, Direction.CONTEXT)
_ANSWERS_NOTHING = (Direction.REQUEST, Direction.EVENT)
# Of this module, where each message finds them at once.
_OPERATION_ID_BYTES = names.OPERATION_ID_BYTES
_DIGEST_BYTES = names.DIGEST_BYTES


_ATTEMPT_SHIFT = 32


def progress_sequence(attempt: int, number: int) -> int:
    """Return the sequence of the n-th progress message of an attempt: above those of earlier attempts."""
    return attempt << _ATTEMPT_SHIFT | number


class Header(NamedTuple):
    """A header that satisfies every rule of its direction. Times and durations are milliseconds."""

    direction: Direction
    trust_domain: str
    sender_namespace: NamespaceName
    sender_key_id: KeyId
    principal: str
    recipient_namespace: NamespaceName
    endpoint: str
    service: str
    operation: str
    operation_id: OperationId
    message_id: bytes
    issued_at_ms: int
    recipients: tuple[str, ...]
    request_digest: bytes = b""
    sender_session: bytes = b""
    sequence: int = 0
    expires_at_ms: int = 0
    schedule_to_start_timeout_ms: int = 0
    start_to_close_timeout_ms: int = 0
    schedule_to_close_timeout_ms: int = 0
    labels: tuple[tuple[str, str], ...] = ()
    contract_hash: bytes = b""
    fingerprint: bytes = b""
    suite: str = SUITE
    start_at_ms: int = 0


Route = tuple[Direction, str, NamespaceName, KeyId, str, NamespaceName, str, str, str]
"""What the messages of one way between two namespaces have in common: the first fields of a header."""


def readers_of(header: Header) -> tuple[str, ...]:
    """Return who reads a message along: its recipients besides the two that it passes between, sorted."""
    if len(header.recipients) == 1:
        return ()
    both = {header.sender_namespace, header.recipient_namespace}
    return tuple([namespace for namespace in header.recipients if namespace not in both])


def encode_header(header: Header) -> bytes:
    """Serialize a header canonically. Raises WireFormatError when a rule of its direction is broken."""
    route, own, terms = header[:9], _own_of(header), _terms_of(header)
    fingerprint, suite, start_at_ms = header[22:]
    if suite != SUITE:
        _check_suite(header)
    asks = route[0] is Direction.REQUEST
    encoded_terms = _encode_terms(asks, terms) if header.labels else _encoded_terms(asks, terms)
    _check_own(route, own, header.recipients, fingerprint)
    encoded = _encoded_route(route) + pieces.write_own(own) + encoded_terms
    if fingerprint:
        encoded += pieces.write_fingerprint(fingerprint)
    if start_at_ms:
        _check_start(header)
        encoded += pieces.write_start_at(start_at_ms)
    return encoded


def _own_of(header: Header) -> pieces.Own:
    return (
        header.operation_id, header.message_id, header.request_digest, header.sender_session, header.sequence,
        header.issued_at_ms, header.expires_at_ms,
    )  # fmt: skip


def _terms_of(header: Header) -> pieces.Terms:
    return (
        header.schedule_to_start_timeout_ms, header.start_to_close_timeout_ms,
        header.schedule_to_close_timeout_ms, header.recipients, header.labels, header.contract_hash,
    )  # fmt: skip


@lru_cache(maxsize=pieces.REMEMBERED)
def _encoded_route(route: Route) -> bytes:
    _check_route(route)
    return pieces.write_route(SUITE, route)


def _encode_terms(asks: bool, terms: pieces.Terms) -> bytes:  # noqa: FBT001
    _check_terms(asks, terms)
    return pieces.write_terms(terms)


# Labels can be many and long: terms are remembered without them only.
_encoded_terms = lru_cache(maxsize=pieces.REMEMBERED)(_encode_terms)


def parse_header(data: bytes) -> Header:
    """Parse a header as transmitted. Raises WireFormatError for anything that is not canonical and valid."""
    if len(data) > limits.MAX_HEADER_BYTES:
        raise WireFormatError(f"the header is larger than {limits.MAX_HEADER_BYTES} bytes")
    header = _read_pieces(data)
    return _read_whole(data) if header is None else header


def _read_pieces(data: bytes) -> Header | None:
    """Read a header by pieces that are known, or become known; None when only ``_read_whole`` can tell.

    Each piece is canonical and satisfies the rules, so the header does. Raises WireFormatError when only the
    message's own fields break one.
    """
    found = pieces.split(data)
    if found is None:
        return None
    route_piece, own, terms_piece, fingerprint = found
    try:
        route = _known_route(route_piece)
        terms = _known_terms(route[0] is Direction.REQUEST, terms_piece)
    except WireFormatError:
        return None
    operation_id, message_id, digest, session, sequence, issued, expires = own
    to_start, running, whole, recipients, labels, contract_hash = terms
    _check_own(route, own, recipients, fingerprint)
    # As a tuple at once: the constructor would take its time to fill in the defaults.
    return tuple.__new__(Header, (
        *route, operation_id, message_id, issued, recipients, digest, session, sequence, expires,
        to_start, running, whole, labels, contract_hash, fingerprint, SUITE, 0,
    ))  # fmt: skip


@lru_cache(maxsize=pieces.REMEMBERED)
def _known_route(piece: bytes) -> Route:
    suite, (direction, trust_domain, sender, key_id, principal, recipient, *called) = pieces.read_route(piece)
    if suite != SUITE:
        raise UnknownSuiteError("the suite is unknown")
    endpoint, service, operation = called
    route = (
        _direction(direction), trust_domain, NamespaceName(sender), KeyId(key_id), principal,
        NamespaceName(recipient), endpoint, service, operation,
    )  # fmt: skip
    _check_route(route)
    return route


@lru_cache(maxsize=pieces.REMEMBERED)
def _known_terms(asks: bool, piece: bytes) -> pieces.Terms:  # noqa: FBT001
    terms = pieces.read_terms(piece)
    _check_terms(asks, terms)
    return terms


def _read_whole(data: bytes) -> Header:
    """Read any header: the definition, which ``_read_pieces`` is a short cut of."""
    message = envelope_pb2.EnvelopeHeader()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise WireFormatError("the header is not a protobuf message") from None
    direction = _direction(message.direction)
    check_canonical(message, data)
    header = Header(
        suite=message.suite,
        direction=direction,
        trust_domain=message.trust_domain,
        sender_namespace=NamespaceName(message.sender_namespace),
        sender_key_id=KeyId(message.sender_key_id),
        principal=message.principal,
        recipient_namespace=NamespaceName(message.recipient_namespace),
        endpoint=message.endpoint,
        service=message.service,
        operation=message.operation,
        operation_id=OperationId(message.operation_id),
        message_id=message.message_id,
        request_digest=message.request_digest,
        sender_session=message.sender_session,
        sequence=message.sequence,
        issued_at_ms=message.issued_at_ms,
        expires_at_ms=message.expires_at_ms,
        schedule_to_start_timeout_ms=message.schedule_to_start_timeout_ms,
        start_to_close_timeout_ms=message.start_to_close_timeout_ms,
        schedule_to_close_timeout_ms=message.schedule_to_close_timeout_ms,
        recipients=tuple(message.recipients),
        labels=tuple((label.name, label.value) for label in message.labels),
        contract_hash=message.contract_hash,
        fingerprint=message.fingerprint,
        start_at_ms=message.start_at_ms,
    )
    _check(header)
    return header


def _direction(number: int) -> Direction:
    try:
        return Direction(number)
    except ValueError:
        raise WireFormatError("the direction is unknown") from None


def check_canonical(message: Message, data: bytes) -> None:
    """Accept only the one serialization that the values of a message have. Raises WireFormatError.

    Changes the message: unknown fields are discarded.
    """
    message.DiscardUnknownFields()
    if message.SerializeToString(deterministic=True) != data:
        raise WireFormatError("a message is not in its canonical serialization")


def _check(header: Header) -> None:
    _check_suite(header)
    _check_route(header[:9])
    _check_terms(header.direction is Direction.REQUEST, _terms_of(header))
    _check_own(header[:9], _own_of(header), header.recipients, header.fingerprint)
    if header.start_at_ms:
        _check_start(header)


def _check_suite(header: Header) -> None:
    if header.suite != SUITE:
        raise UnknownSuiteError("the suite is unknown")


def _check_route(route: Route) -> None:
    direction, trust_domain, sender, key_id, principal, recipient, endpoint, service, operation = route
    names.check_trust_domain(trust_domain)
    names.check_namespace(sender)
    names.check_namespace(recipient)
    names.check_endpoint(endpoint)
    names.check_service(service)
    names.check_service(operation, "operation")
    _require(0 < len(principal) <= limits.MAX_PRINCIPAL_CHARS, "principal is empty or too long")
    _require(len(key_id) == names.KEY_ID_BYTES, "sender_key_id is not 16 bytes")
    if direction in _TO_SELF:
        _require(recipient == sender, "this direction is sealed to its sender")


def _check_terms(asks: bool, terms: pieces.Terms) -> None:  # noqa: FBT001
    to_start, running, whole, recipients, labels, contract_hash = terms
    if asks:
        _require(0 < whole <= limits.MAX_SCHEDULE_TO_CLOSE_MS, "schedule_to_close_timeout is out of range")
        _require(0 <= to_start <= whole and 0 <= running <= whole, "a timeout is out of range")
    else:
        _require(not (to_start or running or whole), "timeouts are only for requests")
    _require(0 < len(recipients) <= limits.MAX_RECIPIENTS, "the number of recipients is out of range")
    _require(_strictly_sorted(recipients), "recipients are not sorted and unique")
    for recipient in recipients:
        names.check_namespace(recipient)
    if labels:
        _check_labels(labels)
    _require(len(contract_hash) in {0, names.DIGEST_BYTES}, "contract_hash is not 32 bytes")


def _check_labels(labels: pieces.Labels) -> None:
    _require(len(labels) <= limits.MAX_LABELS, "there are too many labels")
    _require(_strictly_sorted(tuple(name for name, _ in labels)), "labels are not sorted and unique")
    for name, value in labels:
        fits = 0 < len(name) <= limits.MAX_LABEL_CHARS and len(value) <= limits.MAX_LABEL_CHARS
        _require(fits, "a label is empty or too long")


def _check_own(route: Route, own: pieces.Own, recipients: tuple[str, ...], fingerprint: bytes) -> None:
    """Check what each message has of its own, and what ties it to its route and its terms.

    For every message, so each rule is a comparison without a call.
    """
    operation_id, message_id, request_digest, session, sequence, issued_at_ms, expires_at_ms = own
    direction = route[0]
    if len(operation_id) != _OPERATION_ID_BYTES:
        raise WireFormatError(f"an operation id is {_OPERATION_ID_BYTES} bytes")
    if len(message_id) != MESSAGE_ID_BYTES:
        raise WireFormatError("message_id is not 16 bytes")
    if route[5] not in recipients:
        raise WireFormatError("recipient_namespace is not among the recipients")
    if issued_at_ms <= 0:
        raise WireFormatError("issued_at is missing")
    if direction in FROM_CALLER:
        if expires_at_ms <= issued_at_ms:
            raise WireFormatError("expires_at is missing or before issued_at")
    elif expires_at_ms:
        raise WireFormatError("expires_at is only for requests, cancels and signals")
    # An event answers nothing, either.
    if len(request_digest) != (0 if direction in _ANSWERS_NOTHING else _DIGEST_BYTES):
        raise WireFormatError("request_digest does not fit the direction")
    if fingerprint and (direction is not Direction.REQUEST or len(fingerprint) != _DIGEST_BYTES):
        raise WireFormatError("fingerprint is only for requests, and 32 bytes")
    if session or sequence or direction in _ORDERED:
        _check_place(direction, session, sequence)


def _check_place(direction: Direction, session: bytes, sequence: int) -> None:
    if direction not in _ORDERED:
        raise WireFormatError("only signals and progress are ordered")
    if len(session) != SESSION_BYTES:
        raise WireFormatError("sender_session is not 16 bytes")
    if sequence <= 0:
        raise WireFormatError("sequence begins at 1")


def _check_start(header: Header) -> None:
    """Check a start that is put off: it is rare, and not among the pieces that are known."""
    if header.direction is not Direction.REQUEST:
        raise WireFormatError("start_at is only for requests")
    if not 0 < header.start_at_ms < header.issued_at_ms + header.schedule_to_close_timeout_ms:
        raise WireFormatError(
            "start_at is not before the end of the schedule_to_close timeout, which counts from the call"
        )


def _strictly_sorted(items: tuple[str, ...]) -> bool:
    return all(a < b for a, b in pairwise(items))


def _require(condition: bool, problem: str) -> None:  # noqa: FBT001
    if not condition:
        raise WireFormatError(problem)
