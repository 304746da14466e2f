"""How far an operation is, for its caller: the latest progress, or the next."""

from isthmus.gateway.api.operation_messages import STATES
from isthmus.gateway.api.operation_status import no_operation
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.operation import OperationKey, State
from isthmus.gateway.core.value import Value
from isthmus.gateway.dispatch.waiters import ProgressWaiter, Waiters
from isthmus.gateway.ports import EnvelopeSlot, Reader, Store
from isthmus.v1 import operation_service_pb2
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.names import check_operation_id


class Seen(Value):
    """Where an operation is, and its latest progress if that is news."""

    state: State
    progress: bytes = b""


class ProgressCalls:
    """Answers callers. Every method raises GatewayError or WireFormatError."""

    def __init__(self, store: Store, waiters: Waiters, *, max_wait_seconds: float) -> None:
        self._store = store
        self._waiters = waiters
        self._max_wait_seconds = max_wait_seconds

    async def get(
        self, principal: Principal, request: operation_service_pb2.GetProgressRequest
    ) -> operation_service_pb2.GetProgressResponse:
        """Return progress of an operation of the principal's own namespace; wait until it is news."""
        key = OperationKey(caller=principal.namespace, operation_id=check_operation_id(request.operation_id))
        after, seconds = request.after_sequence, min(request.wait_ms / 1000, self._max_wait_seconds)
        waiter = ProgressWaiter(key, principal.name, after=after)
        # Before it is looked up: nothing falls between the two.
        self._waiters.add(waiter)
        try:
            seen = await self._look(key, after)
            if seconds > 0 and not (seen.progress or seen.state.is_terminal):
                await waiter.woken(seconds)
                seen = await self._look(key, after)
        finally:
            self._waiters.remove(waiter)
        return operation_service_pb2.GetProgressResponse(
            operation_id=key.operation_id, progress=seen.progress, state=STATES[seen.state]
        )

    async def _look(self, key: OperationKey, after: int) -> Seen:
        return await self._store.read(lambda reader: _seen(reader, key, after))


def _seen(reader: Reader, key: OperationKey, after: int) -> Seen:
    operation = reader.operation(key)
    if operation is None:
        raise no_operation(reader.identity(key))
    progress = reader.envelope(key, EnvelopeSlot.PROGRESS)
    if progress is None or parse_envelope(progress).header.sequence <= after:
        return Seen(state=operation.state)
    return Seen(state=operation.state, progress=progress)
