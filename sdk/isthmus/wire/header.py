"""The authenticated clear part of an envelope, parsed strictly.

A header is hashed as transmitted, so exactly one serialization of each header is accepted: the one that
``encode_header`` makes of its values. That refuses unknown fields, duplicated or reordered fields, explicit
defaults and overlong varints at once.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise

from google.protobuf.message import DecodeError, Message

from isthmus.v1 import envelope_pb2
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

    # Enum hashes the name, in Python; every message looks its direction up in several sets.
    __hash__ = int.__hash__


OUTCOMES = frozenset({Direction.RESULT, Direction.FAILURE, Direction.CANCELED})
"""Directions that can end an operation."""

_FROM_CALLER = frozenset({Direction.REQUEST, Direction.CANCEL, Direction.SIGNAL})
_ORDERED = frozenset({Direction.SIGNAL, Direction.PROGRESS})
_TO_SELF = frozenset({Direction.STARTED, Direction.DETAILS, Direction.CONTEXT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
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
    request_digest: bytes = b""
    sender_session: bytes = b""
    sequence: int = 0
    issued_at_ms: int
    expires_at_ms: int = 0
    schedule_to_start_timeout_ms: int = 0
    start_to_close_timeout_ms: int = 0
    schedule_to_close_timeout_ms: int = 0
    recipients: tuple[str, ...]
    labels: tuple[tuple[str, str], ...] = ()
    contract_hash: bytes = b""
    fingerprint: bytes = b""
    suite: str = SUITE


def encode_header(header: Header) -> bytes:
    """Serialize a header canonically. Raises WireFormatError when a rule of its direction is broken."""
    _check(header)
    return _serialize(header)


def parse_header(data: bytes) -> Header:
    """Parse a header as transmitted. Raises WireFormatError for anything that is not canonical and valid."""
    if len(data) > limits.MAX_HEADER_BYTES:
        raise WireFormatError(f"the header is larger than {limits.MAX_HEADER_BYTES} bytes")
    message = envelope_pb2.EnvelopeHeader()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise WireFormatError("the header is not a protobuf message") from None
    try:
        direction = Direction(message.direction)
    except ValueError:
        raise WireFormatError("the direction is unknown") from None
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
    )
    _check(header)
    return header


def check_canonical(message: Message, data: bytes) -> None:
    """Accept only the one serialization that the values of a message have. Raises WireFormatError.

    Changes the message: unknown fields are discarded.
    """
    message.DiscardUnknownFields()
    if message.SerializeToString(deterministic=True) != data:
        raise WireFormatError("a message is not in its canonical serialization")


def _serialize(header: Header) -> bytes:
    # Twice as fast as the constructor's keywords.
    message = envelope_pb2.EnvelopeHeader()
    message.suite = header.suite
    message.direction = int(header.direction)  # type: ignore[assignment]
    message.trust_domain = header.trust_domain
    message.sender_namespace = header.sender_namespace
    message.sender_key_id = header.sender_key_id
    message.principal = header.principal
    message.recipient_namespace = header.recipient_namespace
    message.endpoint = header.endpoint
    message.service = header.service
    message.operation = header.operation
    message.operation_id = header.operation_id
    message.message_id = header.message_id
    message.request_digest = header.request_digest
    message.sender_session = header.sender_session
    message.sequence = header.sequence
    message.issued_at_ms = header.issued_at_ms
    message.expires_at_ms = header.expires_at_ms
    message.schedule_to_start_timeout_ms = header.schedule_to_start_timeout_ms
    message.start_to_close_timeout_ms = header.start_to_close_timeout_ms
    message.schedule_to_close_timeout_ms = header.schedule_to_close_timeout_ms
    message.recipients.extend(header.recipients)
    for name, value in header.labels:
        message.labels.add(name=name, value=value)
    message.contract_hash = header.contract_hash
    message.fingerprint = header.fingerprint
    return message.SerializeToString(deterministic=True)


def _check(header: Header) -> None:
    _check_suite(header)
    _check_names(header)
    _check_sizes(header)
    _check_times(header)
    _check_direction(header)


def _check_suite(header: Header) -> None:
    if header.suite != SUITE:
        raise UnknownSuiteError("the suite is unknown")


def _check_names(header: Header) -> None:
    _check_route(
        header.trust_domain,
        header.sender_namespace,
        header.recipient_namespace,
        header.endpoint,
        header.service,
        header.operation,
        header.recipients,
    )
    names.check_operation_id(header.operation_id)


@lru_cache(maxsize=4096)
def _check_route(  # noqa: PLR0917 - keywords would cost more than the cache saves
    trust_domain: str,
    sender_namespace: str,
    recipient_namespace: str,
    endpoint: str,
    service: str,
    operation: str,
    recipients: tuple[str, ...],
) -> None:
    """Check the names that all messages of one route have in common; cached, because they repeat."""
    names.check_trust_domain(trust_domain)
    names.check_namespace(sender_namespace)
    names.check_namespace(recipient_namespace)
    names.check_endpoint(endpoint)
    names.check_service(service)
    names.check_service(operation, "operation")
    _require(0 < len(recipients) <= limits.MAX_RECIPIENTS, "the number of recipients is out of range")
    _require(_strictly_sorted(recipients), "recipients are not sorted and unique")
    _require(recipient_namespace in recipients, "recipient_namespace is not among the recipients")
    for recipient in recipients:
        names.check_namespace(recipient)


def _check_sizes(header: Header) -> None:
    _require(0 < len(header.principal) <= limits.MAX_PRINCIPAL_CHARS, "principal is empty or too long")
    _require(len(header.sender_key_id) == names.KEY_ID_BYTES, "sender_key_id is not 16 bytes")
    _require(len(header.message_id) == MESSAGE_ID_BYTES, "message_id is not 16 bytes")
    _require(len(header.contract_hash) in {0, names.DIGEST_BYTES}, "contract_hash is not 32 bytes")
    _require(len(header.fingerprint) in {0, names.DIGEST_BYTES}, "fingerprint is not 32 bytes")
    if header.labels:
        _check_labels(header.labels)


def _check_labels(labels: tuple[tuple[str, str], ...]) -> None:
    _require(len(labels) <= limits.MAX_LABELS, "there are too many labels")
    _require(_strictly_sorted(tuple(name for name, _ in labels)), "labels are not sorted and unique")
    for name, value in labels:
        fits = 0 < len(name) <= limits.MAX_LABEL_CHARS and len(value) <= limits.MAX_LABEL_CHARS
        _require(fits, "a label is empty or too long")


def _check_times(header: Header) -> None:
    _require(header.issued_at_ms > 0, "issued_at is missing")
    if header.direction in _FROM_CALLER:
        _require(header.expires_at_ms > header.issued_at_ms, "expires_at is missing or before issued_at")
    else:
        _require(header.expires_at_ms == 0, "expires_at is only for requests, cancels and signals")
    to_start, running = header.schedule_to_start_timeout_ms, header.start_to_close_timeout_ms
    whole = header.schedule_to_close_timeout_ms
    if header.direction is Direction.REQUEST:
        _require(0 < whole <= limits.MAX_SCHEDULE_TO_CLOSE_MS, "schedule_to_close_timeout is out of range")
        _require(0 <= to_start <= whole and 0 <= running <= whole, "a timeout is out of range")
    else:
        _require(whole == to_start == running == 0, "timeouts are only for requests")


def _check_direction(header: Header) -> None:
    is_request = header.direction is Direction.REQUEST
    digest_bytes = 0 if is_request else names.DIGEST_BYTES
    _require(len(header.request_digest) == digest_bytes, "request_digest does not fit the direction")
    _require(is_request or not header.fingerprint, "fingerprint is only for requests")
    if header.direction in _ORDERED:
        _require(len(header.sender_session) == SESSION_BYTES, "sender_session is not 16 bytes")
        _require(header.sequence > 0, "sequence begins at 1")
    else:
        _require(not header.sender_session and header.sequence == 0, "only signals and progress are ordered")
    if header.direction in _TO_SELF:
        _require(
            header.recipient_namespace == header.sender_namespace, "this direction is sealed to its sender"
        )


def _strictly_sorted(items: tuple[str, ...]) -> bool:
    return all(a < b for a, b in pairwise(items))


def _require(condition: bool, problem: str) -> None:  # noqa: FBT001
    if not condition:
        raise WireFormatError(problem)
