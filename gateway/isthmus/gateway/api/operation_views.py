"""Operations as their two namespaces may see them: found, and shown with the one thing that they wait for."""

from collections.abc import Sequence

from isthmus.gateway.api.operation_messages import operation_message
from isthmus.gateway.api.operation_status import no_operation, operation_not_found
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.errors import PreconditionError
from isthmus.gateway.core.identity import Identity
from isthmus.gateway.core.operation import Operation, OperationKey
from isthmus.gateway.core.value import Value
from isthmus.gateway.core.waiting import Runner, Side, Waiting, waiting_for
from isthmus.gateway.dispatch.dispatcher import Dispatcher
from isthmus.gateway.ports import Clock, Reader, Store
from isthmus.v1 import operation_pb2
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import OperationId, check_namespace


class View(Value):
    """An operation, and who runs it if somebody does, as of one moment."""

    operation: Operation
    runner: Runner | None


class OperationViews:
    """Finds operations for those who may know of them, and shows them."""

    def __init__(self, *, store: Store, clock: Clock, dispatcher: Dispatcher) -> None:
        self._store = store
        self._clock = clock
        self._dispatcher = dispatcher

    async def find(self, principal: Principal, caller: str, operation_id: OperationId) -> View:
        """Return an operation that the principal's namespace called or handles.

        Without a caller it is one's own, or else the one with this id that one's own namespace handles.

        Raises:
            NotFoundError: there is none; to everybody else it does not exist.
            OperationExpiredError: its retention is over.
            PreconditionError: several callers use the same id, and none was named.
        """

        def query(reader: Reader) -> View:
            operation = _named(reader, principal.namespace, caller, operation_id)
            if operation is None:
                raise no_operation(_expired(reader, principal.namespace, caller, operation_id))
            if principal.namespace not in {operation.key.caller, operation.handler}:
                raise operation_not_found()
            return view(reader, operation)

        return await self._store.read(query)

    async def show_now(
        self, operations: Sequence[Operation], *, to: Principal
    ) -> list[operation_pb2.Operation]:
        """Return operations that were just changed, as the principal's namespace sees them."""
        views = await self._store.read(lambda reader: [view(reader, operation) for operation in operations])
        return [self.show(shown, to=to) for shown in views]

    def show(self, shown: View, *, to: Principal) -> operation_pb2.Operation:
        """Return an operation as the principal's namespace sees it; its handler is told what it can do."""
        operation = shown.operation
        side = Side.HANDLER if to.namespace == operation.handler else Side.CALLER
        pollers, _ = self._dispatcher.takers(operation)
        return operation_message(
            operation, self.waiting(shown, side=side), runner=shown.runner, pollers=pollers
        )

    def waiting(self, shown: View, *, side: Side = Side.CALLER) -> Waiting | None:
        """Return the one thing that an operation waits for, None when it has ended."""
        operation = shown.operation
        pollers, target = self._dispatcher.takers(operation)
        return waiting_for(
            operation,
            pollers=pollers,
            target=target,
            now=self._clock.now(),
            runner=shown.runner,
            side=side,
            circuit=self._dispatcher.circuits.of_line(
                operation.endpoint, operation.task_queue, operation.key.caller
            ),
        )


def view(reader: Reader, operation: Operation) -> View:
    """Return the view of an operation: with the worker that has it."""
    session = None if operation.session_id is None else reader.worker_session(operation.session_id)
    runner = None
    if session is not None:
        runner = Runner(worker=session.identity, lease_expires_at=session.expires_at)
    return View(operation=operation, runner=runner)


def _named(reader: Reader, namespace: str, caller: str, operation_id: OperationId) -> Operation | None:
    try:
        own = OperationKey(caller=check_namespace(caller or namespace), operation_id=operation_id)
    except WireFormatError:
        # An invalid name names nothing that exists.
        return None
    found = reader.operation(own)
    if found is not None or caller:
        return found
    handled = reader.operations_handled(namespace, operation_id)
    if len(handled) > 1:
        raise PreconditionError(
            "two callers have an operation with this id",
            reason="AMBIGUOUS_OPERATION",
            fix="name the caller's namespace",
        )
    return handled[0] if handled else None


def _expired(reader: Reader, namespace: str, caller: str, operation_id: OperationId) -> Identity | None:
    """Return what stays of a retired operation that the namespace called or handled."""
    try:
        own = OperationKey(caller=check_namespace(caller or namespace), operation_id=operation_id)
    except WireFormatError:
        return None
    identity = reader.identity(own)
    if identity is None and not caller:
        return reader.identity_handled(namespace, operation_id)
    return identity if identity is not None and namespace in {own.caller, identity.handler} else None
