"""What the gateway answers, verified against what this namespace signed. No I/O.

Nothing of an answer is believed before it agrees with local state: an operation that existed before must have
been requested by this namespace, and an outcome must answer that very request.
"""

from typing import Final, NamedTuple

import nexusrpc

from isthmus.client.errors import (
    AttestedHandlerError,
    AttestedOperationError,
    ConflictError,
    OperationCanceledError,
    OperationTimedOutError,
    UnprovenOutcomeError,
    UnverifiedAnswerError,
)
from isthmus.client.request import Caller
from isthmus.envelope.errors import EnvelopeRejectedError, RejectionReason
from isthmus.envelope.expected import Expected, VerifiedKeys
from isthmus.envelope.open import open_envelope
from isthmus.envelope.request_proof import parse_signed_header, verify_request_proof
from isthmus.envelope.statement import Belief, StatementKind, verify_statement
from isthmus.payload.failures import exception_from_payload
from isthmus.payload.payload import Payload
from isthmus.v1 import envelope_pb2, operation_pb2
from isthmus.wire.header import OUTCOMES, Direction, Header, readers_of
from isthmus.wire.names import OperationId, format_operation_id

_TIMEOUTS: Final = {
    StatementKind.TIMED_OUT_SCHEDULE_TO_START: "schedule_to_start",
    StatementKind.TIMED_OUT_START_TO_CLOSE: "start_to_close",
    StatementKind.TIMED_OUT_SCHEDULE_TO_CLOSE: "schedule_to_close",
}


class KnownRequest(NamedTuple):
    """A request that this namespace certainly made, and what every answer to it must carry."""

    header: Header
    digest: bytes


class Outcome(NamedTuple):
    """A verified ending: a result, or the exception that it stands for."""

    payload: Payload | None = None
    error: Exception | None = None
    attested_failure: bool = False
    """The handler's namespace signed that it failed: the one thing that permits another generation."""


def check_operation_id(status: operation_pb2.OperationStatus, operation_id: OperationId) -> None:
    """Raise UnverifiedAnswerError when the answer is about another operation."""
    if status.operation_id != operation_id:
        raise UnverifiedAnswerError(format_operation_id(operation_id), "the answer")


def verify_proof(
    proof: envelope_pb2.RequestProof,
    *,
    caller: Caller,
    operation_id: OperationId,
    now_ms: int,
    known_target: Header | None = None,
    fingerprint: bytes | None = None,
) -> KnownRequest:
    """Verify that this namespace made a request that the gateway shows.

    Args:
        proof: what the gateway shows.
        caller: who asks.
        operation_id: of which operation.
        now_ms: Unix milliseconds.
        known_target: a header of the same target, when it is known what was called.
        fingerprint: of the input, when it is at hand and is to be compared.

    Raises:
        ConflictError: made with another input.
        UnverifiedAnswerError: not made by this namespace, or for another operation.
        TrustError: its endpoint is not pinned any more.
        KeyUnavailableError: signed with a key that the keyring does not know (yet).
    """
    shown = format_operation_id(operation_id)
    try:
        header = parse_signed_header(proof.header, proof.body_digest)
        target = known_target or header
        # The pin of the endpoint, never the answer, says whose operation it is.
        recipient = caller.pins.namespace_of_endpoint(target.endpoint)
        expected = Expected(
            directions=frozenset({Direction.REQUEST}),
            trust_domain=caller.keyring.trust_domain,
            sender_namespace=caller.namespace,
            recipient_namespace=recipient,
            endpoint=target.endpoint,
            service=target.service,
            operation=target.operation,
            operation_id=operation_id,
            request_digest=None,
            # This namespace signed whom it was sealed to; answers are held to that.
            recipients=header.recipients,
        )
        verified, digest = verify_request_proof(
            proof.header,
            proof.signature,
            proof.body_digest,
            namespace=caller.namespace,
            own_keys=caller.keyring.own_keys(),
            expected=expected,
            now_ms=now_ms,
            fingerprint=fingerprint,
        )
    except EnvelopeRejectedError as error:
        if error.reason is RejectionReason.FINGERPRINT:
            conflict = ConflictError(f"{shown} was started with another input under the same id")
            raise conflict.of_operation() from error
        raise UnverifiedAnswerError(shown, "the request") from error
    return KnownRequest(header=verified, digest=digest)


def verify_ending(
    status: operation_pb2.OperationStatus,
    request: KnownRequest,
    *,
    caller: Caller,
    handler_keys: VerifiedKeys,
    now_ms: int,
) -> Outcome:
    """Verify how an operation ended.

    Raises:
        UnverifiedAnswerError: the ending is not what the handler, or the gateway, signed for this request.
        KeyUnavailableError: a key is not known here (yet): refresh and verify again.
    """
    ending = status.ending
    try:
        match ending.WhichOneof("ending"):
            case "attested":
                return _attested(
                    ending.attested, request, caller=caller, handler_keys=handler_keys, now_ms=now_ms
                )
            case "statement":
                return outcome_of_statement(
                    ending.statement, status.cancel, request, caller=caller, now_ms=now_ms
                )
            case None:
                shown = format_operation_id(request.header.operation_id)
                raise UnverifiedAnswerError(shown, "the missing outcome")
    except EnvelopeRejectedError as error:
        shown = format_operation_id(request.header.operation_id)
        raise UnverifiedAnswerError(shown, "the outcome") from error


def answer_expected(
    request: KnownRequest, caller: Caller, directions: frozenset[Direction] = OUTCOMES
) -> Expected:
    """Return what an answer to a request must be: from its recipient, and about nothing else."""
    asked = request.header
    return Expected(
        directions=directions,
        trust_domain=asked.trust_domain,
        sender_namespace=asked.recipient_namespace,
        recipient_namespace=caller.namespace,
        endpoint=asked.endpoint,
        service=asked.service,
        operation=asked.operation,
        operation_id=asked.operation_id,
        request_digest=request.digest,
        recipients=_answer_recipients(asked),
    )


def _answer_recipients(asked: Header) -> tuple[str, ...] | None:
    """Return whom an answer names: the caller and who reads along. None: only the two of a call."""
    if len(asked.recipients) == 1:
        return None
    return tuple(sorted((asked.sender_namespace, *readers_of(asked))))


def _attested(
    envelope: bytes, request: KnownRequest, *, caller: Caller, handler_keys: VerifiedKeys, now_ms: int
) -> Outcome:
    asked = request.header
    namespace = caller.namespace
    opened = open_envelope(
        envelope,
        expected=answer_expected(request, caller),
        sender_keys=handler_keys,
        decrypter=caller.keyring,
        namespace=namespace,
        now_ms=now_ms,
    )
    if opened.header.direction is Direction.RESULT:
        return Outcome(payload=opened.payload)
    error = exception_from_payload(
        opened.payload, handler_error=AttestedHandlerError, operation_error=AttestedOperationError
    )
    if isinstance(error, AttestedHandlerError | AttestedOperationError):
        error.operation_id = format_operation_id(asked.operation_id)
    return Outcome(error=error, attested_failure=opened.header.direction is Direction.FAILURE)


def outcome_of_statement(
    statement: operation_pb2.GatewayStatement,
    cancel: bytes,
    request: KnownRequest,
    *,
    caller: Caller,
    now_ms: int,
) -> Outcome:
    """Return what a statement of the gateway comes to: proven by what this namespace signed, or unproven.

    Raises:
        EnvelopeRejectedError: the gateway did not sign it, or not about this request.
    """
    verified = verify_statement(
        statement.body,
        statement.key_id,
        statement.signature,
        gateway_key=caller.gateway_key,
        request=request.header,
        request_digest=request.digest,
        own_keys=caller.keyring.own_keys(),
        now_ms=now_ms,
        cancel=cancel or None,
    )
    shown = format_operation_id(request.header.operation_id)
    error: Exception
    if verified.belief is Belief.UNPROVEN:
        error = UnprovenOutcomeError(shown, verified.kind.name.lower())
    elif verified.kind is StatementKind.CANCELED:
        error = OperationCanceledError(shown)
    else:
        error = OperationTimedOutError(shown, _TIMEOUTS[verified.kind])
    return Outcome(error=error)


def is_canceled(error: Exception) -> bool:
    """Whether an ending is a cancel, by the handler or before it got the operation."""
    return isinstance(error, nexusrpc.OperationError) and error.state is nexusrpc.OperationErrorState.CANCELED
