"""Endpoints that say something of versions, as this process knows them: a view that is young, like circuits.

A queue that none of them leads to is served as if there were no versions, at no cost.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from isthmus.endpoints.endpoint import Endpoint
from isthmus.endpoints.versions import Target, target_of
from isthmus.gateway.core.operation import Operation
from isthmus.gateway.ports import QueueKey, Store

MOST_ENDPOINTS = 10_000

Changed = Callable[[QueueKey], None]
"""Called when what may go out of a queue is different now."""


class Routes:
    """All endpoints with a ramp or pinned versions. Lives on the event loop that runs the store."""

    def __init__(self, store: Store, *, changed: Changed) -> None:
        self._store = store
        self._changed = changed
        self._endpoints: dict[str, Endpoint] = {}
        self._queues: set[QueueKey] = set()
        # Grows with every change that was seen.
        self.changes = 0

    def is_routed(self, queue: QueueKey) -> bool:
        """Whether it matters for some operations of a queue which version a worker has."""
        return queue in self._queues

    def target(self, operation: Operation, present: AbstractSet[str]) -> Target:
        """Return which workers the next attempt of an operation may go to."""
        endpoint = self._endpoints.get(operation.endpoint)
        if endpoint is None:
            return Target()
        return target_of(
            endpoint.versions, operation.key.operation_id, begun_by=operation.version, present=present
        )

    async def refresh(self) -> None:
        """Look into the store; queues whose endpoints changed are looked at again."""
        found = await self._store.read(lambda reader: reader.routed_endpoints(MOST_ENDPOINTS))
        now: dict[str, Endpoint] = {endpoint.name: endpoint for endpoint in found}
        if now == self._endpoints:
            return
        before, self._endpoints = self._endpoints, now
        touched = {
            _queue(endpoint)
            for name in before.keys() | now.keys()
            if before.get(name) != now.get(name)
            for endpoint in (before.get(name), now.get(name))
            if endpoint is not None
        }
        # An operation waits in the queue that its endpoint led to when it began.
        self._queues = {_queue(endpoint) for endpoint in now.values()}
        self.changes += 1
        for queue in touched:
            self._changed(queue)


def _queue(endpoint: Endpoint) -> QueueKey:
    return QueueKey(namespace=endpoint.namespace, task_queue=endpoint.task_queue)
