"""The calls of the caller's side, whatever carries them: unary RPCs or the frames of a session."""

import asyncio
from collections.abc import Sequence

from isthmus.gateway.api.admission import Admission
from isthmus.gateway.api.operation_status import Snapshot, StatusAnswers
from isthmus.gateway.api.operation_views import OperationViews
from isthmus.gateway.api.progress_calls import ProgressCalls
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.request_cancel import request_cancel
from isthmus.gateway.commands.signal_operation import signal_operation
from isthmus.gateway.commands.start_operation import StartOperation, StartResult
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.dispatch.dispatcher import Dispatcher
from isthmus.gateway.dispatch.waiters import FutureWaiter, Waiters
from isthmus.gateway.ports import Clock, Store
from isthmus.v1 import operation_service_pb2
from isthmus.wire.names import check_operation_id

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
        views: OperationViews,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
    ) -> None:
        self.progress = ProgressCalls(store, waiters, max_wait_seconds=max_wait_seconds)
        self._store = store
        self._clock = clock
        self._admission = admission
        self._dispatcher = dispatcher
        self.waiters = waiters
        self.statuses = statuses
        self._views = views
        self._max_wait_seconds = max_wait_seconds

    def wait_seconds(self, wanted: float) -> float:
        """Return how long a call may wait that wants to wait so long."""
        return min(wanted, self._max_wait_seconds)

    async def admit(
        self, principal: Principal, request: operation_service_pb2.StartOperationRequest
    ) -> StartOperation:
        """Return the start that is asked for, checked and permitted."""
        return await self._admission.start(principal, request)

    def start_all(
        self, starts: Sequence[StartOperation]
    ) -> "asyncio.Future[list[StartResult | BaseException]]":
        """Commit starts that were admitted, together and each for itself. See ``Dispatcher.start_all``."""
        return self._dispatcher.start_all(starts)

    async def start(
        self, principal: Principal, request: operation_service_pb2.StartOperationRequest
    ) -> operation_service_pb2.StartOperationResponse:
        """Start an operation or attach to it; the answer means durable."""
        result = await self._dispatcher.start(await self.admit(principal, request))
        snapshot = await self.after_start(result)
        response = operation_service_pb2.StartOperationResponse()
        self.statuses.fill(response.status, snapshot, attached=result.attached)
        return response

    async def after_start(self, result: StartResult) -> Snapshot:
        """Return what a start answers: with the proof of the request, where it attached to another one."""
        if result.attached:
            return await self.statuses.snapshot(result.operation.key, with_request=True)
        return Snapshot(operation=result.operation)

    async def execute(
        self, principal: Principal, request: operation_service_pb2.ExecuteOperationRequest
    ) -> operation_service_pb2.ExecuteOperationResponse:
        """Start an operation and wait; abandoning the call never cancels the operation."""
        seconds = self.wait_seconds(request.wait_ms / 1000)
        start = await self.admit(principal, request.start)
        key = OperationKey(caller=start.header.sender_namespace, operation_id=start.header.operation_id)
        waiter = self.waiters.register(key, principal.name)
        try:
            result = await self._dispatcher.start(start)
            attached = result.attached
            snapshot = await self.after_start(result)
            # A wait is long and there may be many: none of them keeps its request in memory.
            del start, request, result
            if not snapshot.operation.state.is_terminal and seconds > 0:
                snapshot = await self._wait(waiter, seconds, with_request=attached)
        finally:
            self.waiters.remove(waiter)
        response = operation_service_pb2.ExecuteOperationResponse()
        self.statuses.fill(response.status, snapshot, attached=attached)
        return response

    async def wait(
        self, principal: Principal, request: operation_service_pb2.WaitOperationRequest
    ) -> operation_service_pb2.WaitOperationResponse:
        """Wait for an operation of the principal's own namespace."""
        key = OperationKey(caller=principal.namespace, operation_id=check_operation_id(request.operation_id))
        seconds = self.wait_seconds(request.wait_ms / 1000)
        with_request = request.include_request
        waiter = self.waiters.register(key, principal.name)
        try:
            snapshot = await self.statuses.snapshot(key, with_request=with_request)
            if not snapshot.operation.state.is_terminal and seconds > 0:
                snapshot = await self._wait(waiter, seconds, with_request=with_request)
        finally:
            self.waiters.remove(waiter)
        response = operation_service_pb2.WaitOperationResponse()
        self.statuses.fill(response.status, snapshot)
        if request.include_contexts:
            response.status.contexts.extend(await self._store.read(lambda reader: reader.contexts(key)))
        return response

    async def cancel(
        self, principal: Principal, request: operation_service_pb2.CancelOperationRequest
    ) -> operation_service_pb2.CancelOperationResponse:
        """Record a cancel."""
        cancel = await self._admission.cancel(principal, request.envelope)
        clock = self._clock
        operation = await self._store.transact(lambda uow: request_cancel(uow, cancel, now=clock.now()))
        snapshot = Snapshot(operation=operation)
        if operation.state.is_terminal:
            snapshot = await self.statuses.snapshot(operation.key, with_request=False)
        response = operation_service_pb2.CancelOperationResponse()
        self.statuses.fill(response.status, snapshot)
        return response

    async def signal(
        self, principal: Principal, request: operation_service_pb2.SignalOperationRequest
    ) -> operation_service_pb2.SignalOperationResponse:
        """Record a signal."""
        signal = await self._admission.signal(principal, request.envelope)
        clock = self._clock
        number = await self._store.transact(lambda uow: signal_operation(uow, signal, now=clock.now()))
        return operation_service_pb2.SignalOperationResponse(
            operation_id=signal.header.operation_id, number=number
        )

    async def get(
        self, principal: Principal, request: operation_service_pb2.GetOperationRequest
    ) -> operation_service_pb2.GetOperationResponse:
        """Show an operation to its caller's or its handler's namespace; to others it does not exist."""
        found = await self._views.find(
            principal, request.caller_namespace, check_operation_id(request.operation_id)
        )
        return operation_service_pb2.GetOperationResponse(operation=self._views.show(found, to=principal))

    async def _wait(self, waiter: FutureWaiter, seconds: float, *, with_request: bool) -> Snapshot:
        closed = await waiter.closed(seconds)
        if closed is None:
            return await self.statuses.snapshot(waiter.key, with_request=with_request)
        return await self.statuses.of_closed(closed, with_request=with_request)
