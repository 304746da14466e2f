"""Record what a handler's namespace sealed about an operation: its outcome, or that it finishes later.

An outcome counts whichever attempt or process it comes from, as long as the operation is open: the first one
wins.
"""

from datetime import datetime

from isthmus.gateway.commands.transition import perform
from isthmus.gateway.core import machine
from isthmus.gateway.core.audit_record import (
    Actor,
    AuditRecord,
    HandlerStarted,
    LateOutcomeRefused,
    OperationRef,
    ref,
)
from isthmus.gateway.core.errors import GatewayError, InvalidRequestError, NotFoundError, PreconditionError
from isthmus.gateway.core.events import AsyncStarted, OutcomeReceived
from isthmus.gateway.core.identity import Identity
from isthmus.gateway.core.operation import Operation, OperationKey, State
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import EnvelopeSlot, HandlerAccepted, UnitOfWork
from isthmus.wire.header import OUTCOMES, Direction, Header


class SealedOutcome(Value):
    """A sealed answer of the handler: ``envelope`` as transmitted, ``digest`` its message digest.

    ``token_key`` is the keyed hash of an operation token, for an asynchronous start.
    """

    key: OperationKey
    header: Header
    envelope: bytes
    digest: bytes
    actor: Actor
    attempt: int = 0
    token_key: bytes = b""


class Recorded(Value):
    """Whether the answer was recorded; a late one is audited instead, and refused by whoever asked.

    One that came after the retention, too, finds no operation any more.
    """

    operation: Operation | None
    late: bool = False
    identity: Identity | None = None

    @property
    def refusal(self) -> GatewayError | None:
        """What to answer to one that came after the end."""
        if self.identity is not None:
            return self.identity.expired
        if not self.late or self.operation is None:
            return None
        msg = f"the operation had already ended: {self.operation.state.value}"
        return PreconditionError(msg, reason="OPERATION_ENDED", fix="its first outcome stands, nothing to do")


def record_outcome(uow: UnitOfWork, outcome: SealedOutcome, *, now: datetime) -> Recorded:
    """Record an outcome or an asynchronous start. The same bytes again are recorded already.

    Raises:
        NotFoundError: there is no such operation, or another namespace handles it.
        InvalidRequestError: the answer is about another request, or is no answer.
    """
    operation = uow.operation(outcome.key)
    if operation is None or operation.handler != outcome.actor.namespace:
        return _refuse_missing(uow, outcome, now)
    check_answers(operation, outcome.header)
    if operation.outcome_digest == outcome.digest:
        return Recorded(operation=operation)
    if operation.state.is_terminal or operation.state is State.REVIEW:
        if outcome.header.direction is Direction.STARTED and operation.statement is None:
            # Another process completed it before this start of it was recorded: nothing is late.
            return Recorded(operation=operation)
        _audit_late(uow, ref(operation), outcome, now)
        return Recorded(operation=operation, late=True)
    if outcome.header.direction is Direction.STARTED:
        return Recorded(operation=_start_async(uow, operation, outcome, now))
    if outcome.header.direction not in OUTCOMES:
        msg = "the direction of this envelope is no outcome"
        raise InvalidRequestError(
            msg,
            reason="WRONG_DIRECTION",
            fix="update the SDK of the worker",
        )
    event = OutcomeReceived(
        direction=outcome.header.direction, digest=outcome.digest, outcome_bytes=len(outcome.envelope)
    )
    after, effects = machine.apply(operation, event, now)
    uow.put_envelope(operation.key, EnvelopeSlot.OUTCOME, outcome.envelope)
    uow.update_operation(after)
    perform(uow, after, effects, now, actor=outcome.actor, outcome=outcome.envelope)
    return Recorded(operation=after)


def handled_operation(uow: UnitOfWork, key: OperationKey, handler: str) -> Operation:
    """Return an operation that the namespace handles; to others it does not exist.

    Raises:
        NotFoundError: there is none.
        OperationExpiredError: it existed, and its retention is over.
    """
    operation = uow.operation(key)
    if operation is None or operation.handler != handler:
        identity = _identity(uow, key, handler)
        raise _not_handled() if identity is None else identity.expired
    return operation


def _refuse_missing(uow: UnitOfWork, outcome: SealedOutcome, now: datetime) -> Recorded:
    identity = _identity(uow, outcome.key, outcome.actor.namespace)
    if identity is None:
        raise _not_handled()
    _audit_late(uow, identity.ref, outcome, now)
    return Recorded(operation=None, late=True, identity=identity)


def _identity(uow: UnitOfWork, key: OperationKey, handler: str) -> Identity | None:
    """Return what stays of a retired operation that the namespace handled."""
    identity = uow.identity(key)
    return identity if identity is not None and identity.handler == handler else None


def _not_handled() -> NotFoundError:
    msg = "there is no such operation among those that this namespace handles"
    return NotFoundError(
        msg,
        reason="OPERATION_NOT_FOUND",
        fix="check its id, and that the credential is of the namespace that started it or serves it",
    )


def _audit_late(uow: UnitOfWork, operation: OperationRef, outcome: SealedOutcome, now: datetime) -> None:
    uow.append_audit(
        AuditRecord(
            occurred_at=now,
            actor=outcome.actor,
            happening=LateOutcomeRefused(
                operation=operation, attempt=outcome.attempt, outcome_digest=outcome.digest
            ),
        ),
    )


def check_answers(operation: Operation, header: Header) -> None:
    """Check that a sealed answer is about this operation. Raises InvalidRequestError."""
    to_self = header.direction in {Direction.STARTED, Direction.DETAILS}
    expected = (
        operation.key.operation_id,
        operation.request_digest,
        operation.handler,
        operation.handler if to_self else operation.key.caller,
        operation.endpoint,
        operation.service,
        operation.operation,
    )
    answered = (
        header.operation_id,
        header.request_digest,
        header.sender_namespace,
        header.recipient_namespace,
        header.endpoint,
        header.service,
        header.operation,
    )
    if answered != expected:
        msg = "the header of the answer does not match the operation"
        raise InvalidRequestError(
            msg,
            reason="HEADER_MISMATCH",
            fix="update the SDK of the worker",
        )


def _start_async(uow: UnitOfWork, operation: Operation, outcome: SealedOutcome, now: datetime) -> Operation:
    after, effects = machine.apply(operation, AsyncStarted(), now)
    if operation.state is State.STARTED:
        return after
    uow.put_envelope(operation.key, EnvelopeSlot.STARTED, outcome.envelope)
    if outcome.token_key:
        uow.put_operation_token(operation.key, outcome.token_key)
    uow.update_operation(after)
    uow.append_audit(
        AuditRecord(
            occurred_at=now,
            actor=outcome.actor,
            happening=HandlerStarted(operation=ref(operation), attempt=outcome.attempt),
        ),
    )
    uow.signal(HandlerAccepted(operation=after))
    perform(uow, after, effects, now, actor=outcome.actor)
    return after
