"""Record a caller's signal to an operation that has not ended: durable, in order, once.

A sender numbers its signals without a gap, so that the handler can see that none is missing. A signal that
is sent again, because its answer was lost, is recorded already.
"""

from datetime import datetime

from isthmus.gateway.commands.request_cancel import called_operation
from isthmus.gateway.commands.transition import transition
from isthmus.gateway.core import audit_record
from isthmus.gateway.core.audit_record import Actor, AuditRecord, ref
from isthmus.gateway.core.errors import ConflictError, PreconditionError
from isthmus.gateway.core.events import SignalReceived
from isthmus.gateway.core.operation import Operation, State
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import SignalRecorded, UnitOfWork
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.header import Header

MAX_SIGNALS = 500
# Of one operation together: they all are read by each attempt.
MAX_SIGNAL_BYTES = 4 * 1024 * 1024


class SignalOperation(Value):
    """A sealed signal: ``envelope`` as transmitted, ``digest`` its message digest."""

    header: Header
    envelope: bytes
    digest: bytes
    actor: Actor


def signal_operation(uow: UnitOfWork, signal: SignalOperation, *, now: datetime) -> int:
    """Record the signal; return its place among those of the operation. Repeating it changes nothing.

    Raises:
        OperationExpiredError: the operation existed, and its retention is over.
        NotFoundError: the caller's namespace has no such operation.
        InvalidRequestError: the signal is about another request.
        ConflictError: another signal has this number of this sender.
        PreconditionError: the operation has ended; a signal before this one is missing; or it has as many as
            it may have.
    """
    operation = called_operation(uow, signal.header)
    known = _recorded(uow, operation, signal)
    if known:
        return known
    _check_room(operation, signal)
    number = operation.signals + 1
    uow.put_signal_envelope(operation.key, number, signal.envelope)
    uow.append_audit(
        AuditRecord(
            occurred_at=now,
            actor=signal.actor,
            happening=audit_record.SignalReceived(
                operation=ref(operation),
                digest=signal.digest,
                signal_bytes=len(signal.envelope),
                number=number,
            ),
        ),
    )
    transition(uow, operation, SignalReceived(signal_bytes=len(signal.envelope)), now, signal.actor)
    uow.signal(SignalRecorded(key=operation.key))
    return number


def _recorded(uow: UnitOfWork, operation: Operation, signal: SignalOperation) -> int:
    """Return the place of a signal that is recorded already, 0 for one that is the next of its sender."""
    header, last = signal.header, 0
    for number in range(operation.signals, 0, -1):
        envelope = uow.signal_envelope(operation.key, number)
        recorded = None if envelope is None else parse_envelope(envelope)
        if recorded is None or recorded.header.sender_session != header.sender_session:
            continue
        last = max(last, recorded.header.sequence)
        if recorded.header.sequence == header.sequence:
            if recorded.digest == signal.digest:
                return number
            msg = "another signal of this session has this number"
            raise ConflictError(msg, reason="SIGNAL_CONFLICT", fix="send it in a session of its own")
        if recorded.header.sequence < header.sequence:
            break
    if header.sequence != last + 1:
        msg = f"signal {header.sequence} of this session came before signal {last + 1}"
        raise PreconditionError(msg, reason="SIGNAL_GAP", fix="send signals in their order, each once")
    return 0


def _check_room(operation: Operation, signal: SignalOperation) -> None:
    if operation.state.is_terminal or operation.state is State.REVIEW:
        msg = f"the operation had already ended: {operation.state.value}"
        raise PreconditionError(msg, reason="OPERATION_ENDED", fix="nothing: nobody would get the signal")
    if operation.signals >= MAX_SIGNALS:
        msg = f"an operation takes at most {MAX_SIGNALS} signals"
        raise PreconditionError(
            msg, reason="TOO_MANY_SIGNALS", fix="send what is many as operations of their own"
        )
    if operation.signal_bytes + len(signal.envelope) > MAX_SIGNAL_BYTES:
        msg = f"the signals of an operation have at most {MAX_SIGNAL_BYTES} bytes together"
        raise PreconditionError(
            msg, reason="TOO_MANY_SIGNALS", fix="send pointers to the data instead of the data"
        )
