"""Record a caller's signed cancel; what happens then depends on where the operation is."""

from datetime import datetime

from isthmus.gateway.commands.transition import transition
from isthmus.gateway.core import audit_record
from isthmus.gateway.core.audit_record import Actor, AuditRecord, ref
from isthmus.gateway.core.errors import InvalidRequestError, NotFoundError
from isthmus.gateway.core.events import CancelRequested
from isthmus.gateway.core.operation import Operation, OperationKey
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import EnvelopeSlot, UnitOfWork
from isthmus.wire.header import Header


class RequestCancel(Value):
    """A sealed cancel: ``envelope`` as transmitted, ``digest`` its message digest."""

    header: Header
    envelope: bytes
    digest: bytes
    actor: Actor


def request_cancel(uow: UnitOfWork, request: RequestCancel, *, now: datetime) -> Operation:
    """Record the cancel. A repeated one, or one after the end, changes nothing.

    Raises:
        OperationExpiredError: it existed, and its retention is over.
        NotFoundError: the caller's namespace has no such operation.
        InvalidRequestError: the cancel is about another request.
    """
    operation = called_operation(uow, request.header)
    if operation.cancel_requested or operation.state.is_terminal:
        return operation
    uow.put_envelope(operation.key, EnvelopeSlot.CANCEL, request.envelope)
    uow.append_audit(
        AuditRecord(
            occurred_at=now,
            actor=request.actor,
            happening=audit_record.CancelRequested(operation=ref(operation), digest=request.digest),
        ),
    )
    return transition(uow, operation, CancelRequested(), now, request.actor)


def called_operation(uow: UnitOfWork, header: Header) -> Operation:
    """Return the operation of its caller that a sealed message is about.

    Raises:
        OperationExpiredError: it existed, and its retention is over.
        NotFoundError: the caller's namespace has no such operation.
        InvalidRequestError: the message is about another request.
    """
    key = OperationKey(caller=header.sender_namespace, operation_id=header.operation_id)
    operation = uow.operation(key)
    if operation is None:
        identity = uow.identity(key)
        if identity is not None:
            raise identity.expired
        msg = "there is no such operation"
        raise NotFoundError(
            msg,
            reason="OPERATION_NOT_FOUND",
            fix="check its id, and that the credential is of the namespace that started it or serves it",
        )
    target = (
        operation.request_digest,
        operation.handler,
        operation.endpoint,
        operation.service,
        operation.operation,
    )
    if target != (
        header.request_digest,
        header.recipient_namespace,
        header.endpoint,
        header.service,
        header.operation,
    ):
        msg = "the header of the message does not match the operation"
        raise InvalidRequestError(
            msg,
            reason="HEADER_MISMATCH",
            fix="cancel with the endpoint, service and operation that it was started with",
        )
    return operation
