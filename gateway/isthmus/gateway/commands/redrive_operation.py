"""Give parked operations new attempts, because the owner of their endpoint mended what stopped them."""

from collections.abc import Sequence
from datetime import datetime

from isthmus.gateway.commands.record_outcome import handled_operation
from isthmus.gateway.commands.transition import transition
from isthmus.gateway.core import events
from isthmus.gateway.core.audit_record import Actor, AuditRecord, OperationRedriven, ref
from isthmus.gateway.core.errors import PreconditionError
from isthmus.gateway.core.operation import Operation, OperationKey, State
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import UnitOfWork


class Redrive(Value):
    """The operation afterwards, and whether this very call redrove it."""

    operation: Operation
    redriven: bool


def redrive_operation(uow: UnitOfWork, key: OperationKey, actor: Actor, *, now: datetime) -> Redrive:
    """Give an operation new attempts. One that was redriven before and still has some stays as it is.

    Raises:
        NotFoundError: there is no such operation, or another namespace handles it.
        PreconditionError: it has ended, or it is not parked and never was redriven.
    """
    operation = handled_operation(uow, key, actor.namespace)
    if operation.state is State.PARKED:
        return Redrive(operation=_redrive(uow, operation, actor, now), redriven=True)
    if operation.state.is_terminal:
        raise PreconditionError(
            f"the operation has ended: {operation.state.value}",
            reason="OPERATION_ENDED",
            fix="its caller may start it again under another id",
        )
    if operation.attempts_spent == operation.attempt:
        raise PreconditionError(
            f"the operation is not parked: it is {operation.state.value}",
            reason="NOT_PARKED",
            fix="ask why it waits: isthmus operation why",
        )
    # Fewer attempts count than were made: it was redriven, and the answer to that may have been lost.
    return Redrive(operation=operation, redriven=False)


def redrive_parked(
    uow: UnitOfWork, keys: Sequence[OperationKey], actor: Actor, *, now: datetime
) -> tuple[Operation, ...]:
    """Give new attempts to those that are parked now and that the actor's namespace handles."""
    found = [operation for operation in map(uow.operation, keys) if operation is not None]
    return tuple(
        _redrive(uow, operation, actor, now)
        for operation in found
        if operation.state is State.PARKED and operation.handler == actor.namespace
    )


def _redrive(uow: UnitOfWork, operation: Operation, actor: Actor, now: datetime) -> Operation:
    uow.append_audit(
        AuditRecord(
            occurred_at=now,
            actor=actor,
            happening=OperationRedriven(
                operation=ref(operation),
                attempts=operation.attempt,
                error_type=operation.last_attempt_error,
            ),
        )
    )
    return transition(uow, operation, events.Redriven(), now, actor)
