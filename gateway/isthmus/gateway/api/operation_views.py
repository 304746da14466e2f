"""Operations as their two namespaces may see them: found, and shown with the one thing that they wait for."""

from collections.abc import Iterable, Mapping, Sequence

from isthmus.gateway.api.operation_messages import operation_message
from isthmus.gateway.api.operation_status import no_operation, operation_not_found
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.transition import queue_of
from isthmus.gateway.core.errors import PreconditionError
from isthmus.gateway.core.identity import Identity
from isthmus.gateway.core.operation import Operation, OperationKey
from isthmus.gateway.core.value import Value
from isthmus.gateway.core.waiting import Runner, Side, Waiting, waiting_for
from isthmus.gateway.dispatch.dispatcher import Dispatcher
from isthmus.gateway.ports import Clock, QueueKey, Reader, Store
from isthmus.v1 import operation_pb2
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import OperationId, check_namespace


class View(Value):
    """An operation as of one moment, and who runs it if somebody does.

    ``present`` says how many worker sessions of each version poll its queue, at whichever gateway; None: this
    gateway's own are all that there are.
    """

    operation: Operation
    runner: Runner | None
    present: Mapping[str, int] | None = None


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
            return self.view(reader, operation)

        return await self._store.read(query)

    def view(self, reader: Reader, operation: Operation) -> View:
        """Return the view of an operation: with the worker that has it."""
        (shown,) = self.views(reader, (operation,))
        return shown

    def views(self, reader: Reader, operations: Iterable[Operation]) -> list[View]:
        """Return the views of operations; each queue is asked for its workers once."""
        now = self._clock.now()
        known: dict[QueueKey, Mapping[str, int]] = {}

        def present(operation: Operation) -> Mapping[str, int] | None:
            if not self._store.is_shared or operation.state.is_terminal:
                return None
            queue = queue_of(operation)
            if queue not in known:
                known[queue] = reader.present_versions(queue, now)
            return known[queue]

        return [
            View(operation=operation, runner=_runner(reader, operation), present=present(operation))
            for operation in operations
        ]

    async def show_now(
        self, operations: Sequence[Operation], *, to: Principal
    ) -> list[operation_pb2.Operation]:
        """Return operations that were just changed, as the principal's namespace sees them."""
        views = await self._store.read(lambda reader: self.views(reader, operations))
        return [self.show(shown, to=to) for shown in views]

    def show(self, shown: View, *, to: Principal) -> operation_pb2.Operation:
        """Return an operation as the principal's namespace sees it; its handler is told what it can do."""
        operation = shown.operation
        side = Side.HANDLER if to.namespace == operation.handler else Side.CALLER
        pollers, _ = self._dispatcher.takers(operation, shown.present)
        return operation_message(
            operation, self.waiting(shown, side=side), runner=shown.runner, pollers=pollers
        )

    def waiting(self, shown: View, *, side: Side = Side.CALLER) -> Waiting | None:
        """Return the one thing that an operation waits for, None when it has ended."""
        operation = shown.operation
        pollers, target = self._dispatcher.takers(operation, shown.present)
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


def _runner(reader: Reader, operation: Operation) -> Runner | None:
    session = None if operation.session_id is None else reader.worker_session(operation.session_id)
    if session is None:
        return None
    return Runner(worker=session.identity, lease_expires_at=session.expires_at)


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
