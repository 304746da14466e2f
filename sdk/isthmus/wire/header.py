"""The authenticated clear part of an envelope, parsed strictly.

A header is hashed as transmitted, so exactly one serialization of each header is accepted: the one that
``encode_header`` makes of its values. That refuses unknown fields, duplicated or reordered fields, explicit
defaults and overlong varints at once.
"""

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from google.protobuf.message import DecodeError

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
    # Without its unknown fields the message is what its values alone serialize to.
    message.DiscardUnknownFields()
    if message.SerializeToString(deterministic=True) != data:
        raise WireFormatError("the header is not in its canonical serialization")
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


def _serialize(header: Header) -> bytes:
    message = envelope_pb2.EnvelopeHeader(
        suite=header.suite,
        direction=int(header.direction),  # type: ignore[arg-type]
        trust_domain=header.trust_domain,
        sender_namespace=header.sender_namespace,
        sender_key_id=header.sender_key_id,
        principal=header.principal,
        recipient_namespace=header.recipient_namespace,
        endpoint=header.endpoint,
        service=header.service,
        operation=header.operation,
        operation_id=header.operation_id,
        message_id=header.message_id,
        request_digest=header.request_digest,
        sender_session=header.sender_session,
        sequence=header.sequence,
        issued_at_ms=header.issued_at_ms,
        expires_at_ms=header.expires_at_ms,
        schedule_to_start_timeout_ms=header.schedule_to_start_timeout_ms,
        start_to_close_timeout_ms=header.start_to_close_timeout_ms,
        schedule_to_close_timeout_ms=header.schedule_to_close_timeout_ms,
        recipients=header.recipients,
        labels=[envelope_pb2.Label(name=name, value=value) for name, value in header.labels],
        contract_hash=header.contract_hash,
        fingerprint=header.fingerprint,
    )
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
    names.check_trust_domain(header.trust_domain)
    names.check_namespace(header.sender_namespace)
    names.check_namespace(header.recipient_namespace)
    names.check_endpoint(header.endpoint)
    names.check_service(header.service)
    names.check_service(header.operation, "operation")
    names.check_operation_id(header.operation_id)


def _check_sizes(header: Header) -> None:
    _require(0 < len(header.principal) <= limits.MAX_PRINCIPAL_CHARS, "principal is empty or too long")
    _require(len(header.sender_key_id) == names.KEY_ID_BYTES, "sender_key_id is not 16 bytes")
    _require(len(header.message_id) == MESSAGE_ID_BYTES, "message_id is not 16 bytes")
    _require(len(header.contract_hash) in {0, names.DIGEST_BYTES}, "contract_hash is not 32 bytes")
    _require(len(header.fingerprint) in {0, names.DIGEST_BYTES}, "fingerprint is not 32 bytes")
    recipients = header.recipients
    _require(0 < len(recipients) <= limits.MAX_RECIPIENTS, "the number of recipients is out of range")
    _require(_strictly_sorted(recipients), "recipients are not sorted and unique")
    _require(header.recipient_namespace in recipients, "recipient_namespace is not among the recipients")
    for recipient in recipients:
        names.check_namespace(recipient)
    label_names = tuple(name for name, _ in header.labels)
    _require(len(label_names) <= limits.MAX_LABELS, "there are too many labels")
    _require(_strictly_sorted(label_names), "labels are not sorted and unique")
    for name, value in header.labels:
        fits = 0 < len(name) <= limits.MAX_LABEL_CHARS and len(value) <= limits.MAX_LABEL_CHARS
        _require(fits, "a label is empty or too long")


def _check_times(header: Header) -> None:
    _require(header.issued_at_ms > 0, "issued_at is missing")
    if header.direction in _FROM_CALLER:
        _require(header.expires_at_ms > header.issued_at_ms, "expires_at is missing or before issued_at")
    else:
        _require(header.expires_at_ms == 0, "expires_at is only for requests, cancels and signals")
    timeouts = (header.schedule_to_start_timeout_ms, header.start_to_close_timeout_ms)
    whole = header.schedule_to_close_timeout_ms
    if header.direction is Direction.REQUEST:
        _require(0 < whole <= limits.MAX_SCHEDULE_TO_CLOSE_MS, "schedule_to_close_timeout is out of range")
        _require(all(0 <= timeout <= whole for timeout in timeouts), "a timeout is out of range")
    else:
        _require(whole == 0 and timeouts == (0, 0), "timeouts are only for requests")


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
