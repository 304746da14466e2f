"""Signals for the attempt that runs: read from the store when it asks, and as soon as there are further ones.

A read says which signals the worker has; whoever repeats it gets the same. So nothing is lost with a
connection, and nothing is kept for a worker that does not ask.
"""

from isthmus.gateway.api.status import status_bytes
from isthmus.gateway.api.task_outcomes import key_of
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.end_attempt import check_current
from isthmus.gateway.core.errors import InvalidRequestError, NotFoundError
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.dispatch.waiters import SignalWaiter, Waiters
from isthmus.gateway.ports import Reader, Store
from isthmus.v1 import worker_service_pb2

MAX_WAIT_SECONDS = 30.0
# An answer may exceed this by one signal.
MAX_BYTES_PER_ANSWER = 1024 * 1024

Found = tuple[bytes, ...]


class SignalReads:
    """Answers workers."""

    def __init__(self, store: Store, waiters: Waiters) -> None:
        self._store = store
        self._waiters = waiters

    async def next(
        self, principal: Principal, read: worker_service_pb2.SignalRead
    ) -> worker_service_pb2.TaskSignals:
        """Return signals, however long it takes; an error once the task is over."""
        while True:
            try:
                found = await self.look(principal, read, seconds=MAX_WAIT_SECONDS)
            except Exception as error:  # noqa: BLE001 - whatever it is becomes a status
                return worker_service_pb2.TaskSignals(task=read.task, error=status_bytes(error))
            if found.signals:
                return found

    async def look(
        self, principal: Principal, read: worker_service_pb2.SignalRead, *, seconds: float
    ) -> worker_service_pb2.TaskSignals:
        """Return signals, or none when the time is over.

        Raises:
            WireFormatError, GatewayError: the task is not one that this namespace runs.
        """
        task, after = read.task, read.after
        if task.kind != worker_service_pb2.TASK_KIND_START:
            raise InvalidRequestError("only a START task reads signals", reason="UNKNOWN_READ")
        key = key_of(task)
        handler, attempt = principal.namespace, task.attempt

        def query(reader: Reader) -> Found:
            return _signals(reader, key, handler, attempt, after)

        waiter = SignalWaiter(key, principal.name)
        # Before they are looked up: nothing falls between the two.
        self._waiters.add(waiter)
        try:
            found = await self._store.read(query)
            if not found and seconds > 0:
                await waiter.woken(min(seconds, MAX_WAIT_SECONDS))
                found = await self._store.read(query)
        finally:
            self._waiters.remove(waiter)
        return worker_service_pb2.TaskSignals(task=task, first=after + 1, signals=found)


def _signals(reader: Reader, key: OperationKey, handler: str, attempt: int, after: int) -> Found:
    operation = reader.operation(key)
    if operation is None or operation.handler != handler:
        msg = "there is no such operation among those that this namespace handles"
        raise NotFoundError(
            msg,
            reason="OPERATION_NOT_FOUND",
            fix="check its id, and that the credential is of the namespace that started it or serves it",
        )
    check_current(operation, attempt)
    found: list[bytes] = []
    size = 0
    for number in range(after + 1, operation.signals + 1):
        envelope = reader.signal_envelope(key, number)
        if envelope is None or size > MAX_BYTES_PER_ANSWER:
            break
        found.append(envelope)
        size += len(envelope)
    return tuple(found)
