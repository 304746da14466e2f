"""End an operation by force, because the owner of its endpoint or the platform says so."""

from datetime import datetime

from isthmus.gateway.commands.transition import transition
from isthmus.gateway.core.audit_record import Actor
from isthmus.gateway.core.errors import InvalidRequestError, NotFoundError, PreconditionError
from isthmus.gateway.core.events import Terminated
from isthmus.gateway.core.operation import Operation, OperationKey, Statement
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import UnitOfWork

MAX_REASON_CHARS = 500


class Termination(Value):
    """The operation afterwards, and whether this very call ended it."""

    operation: Operation
    terminated: bool


def terminate_operation(
    uow: UnitOfWork, key: OperationKey, actor: Actor, *, reason: str, now: datetime
) -> Termination:
    """End an open operation by a statement of the gateway; the reason goes on record with the actor.

    Repeating it changes nothing. Who may do it was decided before.

    Raises:
        InvalidRequestError: the reason is empty, too long or not printable.
        NotFoundError: there is no such operation.
        PreconditionError: it ended in another way before.
    """
    if not reason.strip() or len(reason) > MAX_REASON_CHARS or not reason.isprintable():
        raise InvalidRequestError(
            f"the reason has to be 1 to {MAX_REASON_CHARS} printable characters on one line",
            reason="TERMINATE_REASON",
            fix="say why in a sentence: both teams read it in the audit log",
        )
    operation = uow.operation(key)
    if operation is None:
        raise NotFoundError(
            "there is no such operation",
            reason="OPERATION_NOT_FOUND",
            fix="check its id; with --caller, that it is of this caller",
        )
    if operation.statement is Statement.TERMINATED:
        return Termination(operation=operation, terminated=False)
    if operation.state.is_terminal:
        raise PreconditionError(
            f"the operation had already ended: {operation.state.value}",
            reason="OPERATION_ENDED",
            fix="nothing: its ending stands",
        )
    return Termination(
        operation=transition(uow, operation, Terminated(reason=reason), now, actor), terminated=True
    )
