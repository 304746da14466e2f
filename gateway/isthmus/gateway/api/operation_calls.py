"""The calls of the caller's side, whatever carries them: unary RPCs or the frames of a session."""

from isthmus.gateway.api.admission import Admission
from isthmus.gateway.api.operation_messages import operation_message
from isthmus.gateway.api.operation_status import Snapshot, StatusAnswers, operation_not_found
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.request_cancel import request_cancel
from isthmus.gateway.commands.start_operation import StartResult
from isthmus.gateway.commands.transition import queue_of
from isthmus.gateway.core.operation import Operation, OperationKey
from isthmus.gateway.core.waiting import waiting_for
from isthmus.gateway.dispatch.dispatcher import Dispatcher
from isthmus.gateway.dispatch.waiters import Waiter, Waiters
from isthmus.gateway.ports import Clock, Store
from isthmus.v1 import operation_pb2, operation_service_pb2
from isthmus.wire.errors import WireFormatError
from isthmus.wire.names import NamespaceName, check_namespace, check_operation_id

MAX_WAIT_SECONDS = 60.0


class OperationCalls:
    """Answers calls of authenticated principals. Every method raises GatewayError or WireFormatError."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        admission: Admission,
        dispatcher: Dispatcher,
        waiters: Waiters,
        statuses: StatusAnswers,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._admission = admission
        self._dispatcher = dispatcher
        self._waiters = waiters
        self._statuses = statuses
        self._max_wait_seconds = max_wait_seconds

    async def start(
        self, principal: Principal, request: operation_service_pb2.StartOperationRequest
    ) -> operation_service_pb2.StartOperationResponse:
        """Start an operation or attach to it; the answer means durable."""
        result = await self._dispatcher.start(await self._admission.start(principal, request))
        snapshot = await self._after_start(result)
        status = self._statuses.status(snapshot, attached=result.attached)
        return operation_service_pb2.StartOperationResponse(status=status)

    async def execute(
        self, principal: Principal, request: operation_service_pb2.ExecuteOperationRequest
    ) -> operation_service_pb2.ExecuteOperationResponse:
        """Start an operation and wait; abandoning the call never cancels the operation."""
        seconds = self._wait_seconds(request.wait_ms)
        start = await self._admission.start(principal, request.start)
        key = OperationKey(caller=start.header.sender_namespace, operation_id=start.header.operation_id)
        waiter = self._waiters.register(key, principal.name)
        try:
            result = await self._dispatcher.start(start)
            attached = result.attached
            snapshot = await self._after_start(result)
            # A wait is long and there may be many: none of them keeps its request in memory.
            del start, request, result
            if not snapshot.operation.state.is_terminal and seconds > 0:
                snapshot = await self._wait(waiter, seconds, with_request=attached)
        finally:
            self._waiters.remove(waiter)
        status = self._statuses.status(snapshot, attached=attached)
        return operation_service_pb2.ExecuteOperationResponse(status=status)

    async def wait(
        self, principal: Principal, request: operation_service_pb2.WaitOperationRequest
    ) -> operation_service_pb2.WaitOperationResponse:
        """Wait for an operation of the principal's own namespace."""
        key = OperationKey(caller=principal.namespace, operation_id=check_operation_id(request.operation_id))
        seconds = self._wait_seconds(request.wait_ms)
        with_request = request.include_request
        waiter = self._waiters.register(key, principal.name)
        try:
            snapshot = await self._statuses.snapshot(key, with_request=with_request)
            if not snapshot.operation.state.is_terminal and seconds > 0:
                snapshot = await self._wait(waiter, seconds, with_request=with_request)
        finally:
            self._waiters.remove(waiter)
        return operation_service_pb2.WaitOperationResponse(status=self._statuses.status(snapshot))

    async def cancel(
        self, principal: Principal, request: operation_service_pb2.CancelOperationRequest
    ) -> operation_service_pb2.CancelOperationResponse:
        """Record a cancel."""
        cancel = await self._admission.cancel(principal, request.envelope)
        clock = self._clock
        operation = await self._store.transact(lambda uow: request_cancel(uow, cancel, now=clock.now()))
        snapshot = Snapshot(operation=operation)
        if operation.state.is_terminal:
            snapshot = await self._statuses.snapshot(operation.key, with_request=False)
        return operation_service_pb2.CancelOperationResponse(status=self._statuses.status(snapshot))

    async def get(
        self, principal: Principal, request: operation_service_pb2.GetOperationRequest
    ) -> operation_service_pb2.GetOperationResponse:
        """Show an operation to its caller's or its handler's namespace; to others it does not exist."""
        operation_id = check_operation_id(request.operation_id)
        caller = _namespace(request.caller_namespace) or principal.namespace
        key = OperationKey(caller=caller, operation_id=operation_id)
        operation = await self._store.read(lambda reader: reader.operation(key))
        if operation is None or principal.namespace not in {operation.key.caller, operation.handler}:
            raise operation_not_found()
        return operation_service_pb2.GetOperationResponse(operation=self.describe(operation))

    def describe(self, operation: Operation) -> operation_pb2.Operation:
        """Return an operation and, while it is open, the one thing that it waits for."""
        pollers = self._dispatcher.pollers(queue_of(operation))
        return operation_message(operation, waiting_for(operation, pollers=pollers, now=self._clock.now()))

    async def _after_start(self, result: StartResult) -> Snapshot:
        if result.attached:
            return await self._statuses.snapshot(result.operation.key, with_request=True)
        return Snapshot(operation=result.operation)

    async def _wait(self, waiter: Waiter, seconds: float, *, with_request: bool) -> Snapshot:
        closed = await waiter.closed(seconds)
        if closed is None:
            return await self._statuses.snapshot(waiter.key, with_request=with_request)
        return await self._statuses.of_closed(closed, with_request=with_request)

    def _wait_seconds(self, wait_ms: int) -> float:
        return min(wait_ms / 1000, self._max_wait_seconds)


def _namespace(name: str) -> NamespaceName | None:
    """Return the name; an invalid one names nothing that exists."""
    if not name:
        return None
    try:
        return check_namespace(name)
    except WireFormatError:
        raise operation_not_found() from None
