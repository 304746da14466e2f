"""What start, execute and wait answer: where an operation is, how it ended, and what proves its request."""

from isthmus.gateway.api.operation_messages import STATES, Endings, request_proof
from isthmus.gateway.core.errors import GatewayError, NotFoundError
from isthmus.gateway.core.identity import Identity
from isthmus.gateway.core.operation import Operation, OperationKey, Statement
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import EnvelopeSlot, OperationClosed, Reader, Store
from isthmus.v1 import operation_pb2


class Snapshot(Value):
    """An operation and those of its sealed messages that an answer needs, as of one moment."""

    operation: Operation
    outcome: bytes | None = None
    cancel: bytes | None = None
    request: bytes | None = None


class StatusAnswers:
    """Builds statuses; reads only what is not in memory already."""

    def __init__(self, store: Store, endings: Endings) -> None:
        self._store = store
        self._endings = endings

    async def snapshot(self, key: OperationKey, *, with_request: bool) -> Snapshot:
        """Read an operation.

        Raises:
            NotFoundError: there is none.
            OperationExpiredError: its retention is over.
        """
        return await self._store.read(lambda reader: _snapshot(reader, key, with_request=with_request))

    async def of_closed(self, closed: OperationClosed, *, with_request: bool) -> Snapshot:
        """Return the snapshot of an operation that was just closed: without a query in the common case."""
        operation = closed.operation
        if with_request or operation.statement is Statement.CANCELED:
            return await self.snapshot(operation.key, with_request=with_request)
        return Snapshot(operation=operation, outcome=closed.outcome)

    def fill(
        self, message: operation_pb2.OperationStatus, snapshot: Snapshot, *, attached: bool = False
    ) -> None:
        """Write the answer into a message, in its place: copying it there would copy the outcome."""
        operation = snapshot.operation
        message.operation_id = operation.key.operation_id
        message.state = STATES[operation.state]
        message.attached = attached
        if snapshot.request is not None:
            message.request.CopyFrom(request_proof(snapshot.request))
        if operation.statement is not None:
            message.ending.statement.CopyFrom(self._endings.statement(operation, operation.statement))
        elif operation.state.is_terminal and snapshot.outcome is not None:
            message.ending.attested = snapshot.outcome
        if snapshot.cancel is not None:
            message.cancel = snapshot.cancel


def operation_not_found() -> NotFoundError:
    """Return the answer to everybody who may not know that an operation exists."""
    return NotFoundError(
        "there is no such operation", reason="OPERATION_NOT_FOUND", fix="check its id and the namespace"
    )


def no_operation(identity: Identity | None) -> GatewayError:
    """Return the answer where an operation is not found: to those who took part in it, that it expired."""
    return operation_not_found() if identity is None else identity.expired


def _snapshot(reader: Reader, key: OperationKey, *, with_request: bool) -> Snapshot:
    operation = reader.operation(key)
    if operation is None:
        raise no_operation(reader.identity(key))
    is_attested = operation.state.is_terminal and operation.statement is None
    is_canceled = operation.statement is Statement.CANCELED
    return Snapshot(
        operation=operation,
        outcome=reader.envelope(key, EnvelopeSlot.OUTCOME) if is_attested else None,
        cancel=reader.envelope(key, EnvelopeSlot.CANCEL) if is_canceled else None,
        request=reader.envelope(key, EnvelopeSlot.REQUEST) if with_request else None,
    )
