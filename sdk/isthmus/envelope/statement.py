"""Gateway statements: endings that no handler signed, and how far they are to be believed.

The gateway is not trusted, so its signature alone proves nothing about an operation. A statement is proven
when something that this namespace signed itself agrees with it: a deadline of its request, or its cancel.
Everything else is reported as unproven, and nothing may be started again because of it.
"""

import hashlib
from dataclasses import dataclass
from enum import Enum, IntEnum, unique

from google.protobuf.message import DecodeError

from isthmus.envelope.errors import EnvelopeError, EnvelopeRejectedError, RejectionReason
from isthmus.envelope.expected import Expected, VerifiedKeys
from isthmus.envelope.key_material import SigningPublicKey
from isthmus.envelope.open import check_header, check_signature
from isthmus.v1 import operation_pb2
from isthmus.wire.envelope import header_hash, parse_envelope, signed_bytes
from isthmus.wire.errors import WireFormatError
from isthmus.wire.header import Direction, Header, check_canonical
from isthmus.wire.statement import statement_signed_bytes


@unique
class StatementKind(IntEnum):
    """Why the gateway ended an operation; the numbers are those of ``isthmus.v1.StatementKind``."""

    DENIED = 1
    CANCELED = 2
    TIMED_OUT_SCHEDULE_TO_START = 3
    TIMED_OUT_START_TO_CLOSE = 4
    TIMED_OUT_SCHEDULE_TO_CLOSE = 5
    TERMINATED = 6
    EXHAUSTED = 7


@unique
class Belief(Enum):
    """How far a verified statement is to be believed."""

    PROVEN = "proven"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedStatement:
    """What the gateway signed about this very request."""

    kind: StatementKind
    belief: Belief
    decided_at_ms: int

    @property
    def attested(self) -> bool:
        """Whether the handler's namespace vouches for this ending: never, for a statement of the gateway."""
        return False


def verify_statement(
    body: bytes,
    key_id: bytes,
    signature: bytes,
    *,
    gateway_key: SigningPublicKey,
    request: Header,
    request_digest: bytes,
    own_keys: VerifiedKeys,
    now_ms: int,
    cancel: bytes | None = None,
) -> VerifiedStatement:
    """Verify a GatewayStatement about one's own request, and say how far it is to be believed.

    ``request`` is the header that this namespace signed, ``cancel`` the serialized Envelope of its own
    cancel as the gateway returned it, ``gateway_key`` the gateway's key as it was pinned.

    Raises:
        EnvelopeRejectedError: the gateway did not sign this about this request.

    """
    if key_id != gateway_key.key_id or not gateway_key.verify(signature, statement_signed_bytes(body)):
        raise EnvelopeRejectedError(RejectionReason.STATEMENT)
    statement = _parse(body)
    about = (
        statement.trust_domain,
        statement.caller_namespace,
        statement.operation_id,
        statement.request_digest,
    )
    if about != (request.trust_domain, request.sender_namespace, request.operation_id, request_digest):
        raise EnvelopeRejectedError(RejectionReason.STATEMENT)
    try:
        kind = StatementKind(statement.kind)
    except ValueError:
        raise EnvelopeRejectedError(RejectionReason.STATEMENT) from None
    if kind is StatementKind.CANCELED:
        proven = cancel is not None and is_own_cancel(
            cancel, request=request, request_digest=request_digest, own_keys=own_keys, now_ms=now_ms
        )
    else:
        proven = deadline_has_passed(kind, request, now_ms)
    return VerifiedStatement(
        kind=kind,
        belief=Belief.PROVEN if proven else Belief.UNPROVEN,
        decided_at_ms=statement.decided_at_ms,
    )


def deadline_has_passed(kind: StatementKind, request: Header, now_ms: int) -> bool:
    """Tell whether the timeout that a statement claims can have run out, by one's own header and clock.

    Start-to-close begins at a moment that only the gateway knows, but not before the request was sealed, nor
    before the moment that it was put off to.
    """
    timeouts_ms = {
        StatementKind.TIMED_OUT_SCHEDULE_TO_START: request.schedule_to_start_timeout_ms,
        StatementKind.TIMED_OUT_START_TO_CLOSE: request.start_to_close_timeout_ms,
        StatementKind.TIMED_OUT_SCHEDULE_TO_CLOSE: request.schedule_to_close_timeout_ms,
    }
    timeout_ms = timeouts_ms.get(kind, 0)
    begins_ms = request.issued_at_ms
    if kind is not StatementKind.TIMED_OUT_SCHEDULE_TO_CLOSE:
        begins_ms = max(begins_ms, request.start_at_ms)
    return timeout_ms > 0 and now_ms >= begins_ms + timeout_ms


def is_own_cancel(
    cancel: bytes, *, request: Header, request_digest: bytes, own_keys: VerifiedKeys, now_ms: int
) -> bool:
    """Tell whether this namespace signed a cancel of this very request."""
    expected = Expected(
        directions=frozenset({Direction.CANCEL}),
        trust_domain=request.trust_domain,
        sender_namespace=request.sender_namespace,
        recipient_namespace=request.recipient_namespace,
        endpoint=request.endpoint,
        service=request.service,
        operation=request.operation,
        operation_id=request.operation_id,
        request_digest=request_digest,
        recipients=request.recipients,
    )
    try:
        envelope = parse_envelope(cancel)
        check_header(envelope.header, expected)
        body_digest = hashlib.sha256(envelope.body).digest()
        signed = signed_bytes(header_hash(envelope.header_bytes), body_digest)
        check_signature(
            envelope.header, envelope.signature, signed, expected=expected, keys=own_keys, now_ms=now_ms
        )
    except (WireFormatError, EnvelopeError):
        return False
    return True


def _parse(body: bytes) -> operation_pb2.StatementBody:
    statement = operation_pb2.StatementBody()
    try:
        statement.ParseFromString(body)
    except DecodeError:
        raise EnvelopeRejectedError(RejectionReason.STATEMENT) from None
    try:
        check_canonical(statement, body)
    except WireFormatError:
        raise EnvelopeRejectedError(RejectionReason.STATEMENT) from None
    return statement
