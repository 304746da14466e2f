"""What waits in the store, asked at a scrape, at most every few seconds and never without bound."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.core.errors import GatewayError
from isthmus.gateway.core.operation import State
from isthmus.gateway.core.value import Value
from isthmus.gateway.core.waiting import WaitingCause, waiting_cause
from isthmus.gateway.ports import Clock, QueueKey, Reader, Store, WaitingGroup
from isthmus.wire.names import NamespaceName

KEPT_SECONDS = 5.0
MOST_ENDPOINTS = 1_000
MOST_OPERATIONS_OF_AN_ENDPOINT = 10_000
MOST_OPERATIONS = 200_000
_LOG = logging.getLogger(__name__)

Pollers = Callable[[QueueKey], int]
"""How many worker sessions poll a queue."""
HeldUp = Callable[[str, str, str], bool]
"""Whether a circuit is open for an endpoint, task queue and caller."""


class QueueBacklog(Value):
    """Operations of an endpoint that wait in a task queue for a worker, and since when the first one does."""

    endpoint: str
    handler: str
    task_queue: str
    operations: int
    since: datetime | None


class Backlog(Value):
    """What waits. ``is_complete`` is false when there is more than was looked at."""

    queues: tuple[QueueBacklog, ...]
    causes: Mapping[tuple[str, WaitingCause], int]
    is_complete: bool


_Found = tuple[Sequence[Endpoint], list[WaitingGroup], bool, Mapping[QueueKey, int] | None]
"""Endpoints, what waits, whether that is all, and who polls if other gateways may have workers, too."""


class BacklogCache:
    """Asks the store, remembers the answer for KEPT_SECONDS, and lets whoever asks meanwhile share it."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        pollers: Pollers,
        held_up: HeldUp,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count what waits in a store.

        Args:
            store: the store.
            clock: tells the time.
            pollers: how many sessions of a queue are connected to this gateway, for a store without others.
            held_up: whether a circuit is open.
            monotonic: seconds that only grow.
        """
        self._store = store
        self._clock = clock
        self._pollers = pollers
        self._held_up = held_up
        self._monotonic = monotonic
        self._asking = asyncio.Lock()
        self._kept: Backlog | None = None
        self._asked_at: float | None = None

    async def get(self) -> Backlog | None:
        """Return what waits; None while the store does not answer: better no number than an old one."""
        async with self._asking:
            if self._asked_at is None or self._monotonic() - self._asked_at >= KEPT_SECONDS:
                self._kept = await self._ask()
                self._asked_at = self._monotonic()
            return self._kept

    async def _ask(self) -> Backlog | None:
        now = self._clock.now()
        try:
            found = await self._store.read(lambda reader: self._look(reader, now))
        except GatewayError as error:
            _LOG.warning("the backlog cannot be measured: %s", error.message)
            return None
        endpoints, groups, is_complete, present = found
        pollers = self._pollers if present is None else present.__getitem__
        return summed(endpoints, groups, is_complete=is_complete, pollers=pollers, held_up=self._held_up)

    def _look(self, reader: Reader, now: datetime) -> _Found:
        endpoints, groups, is_complete = _look(reader, now)
        if not self._store.is_shared:
            return endpoints, groups, is_complete, None
        queues = {_queue(group) for group in groups}
        present = {queue: sum(reader.present_versions(queue, now).values()) for queue in queues}
        return endpoints, groups, is_complete, present


def summed(
    endpoints: Sequence[Endpoint],
    groups: Sequence[WaitingGroup],
    *,
    is_complete: bool,
    pollers: Pollers,
    held_up: HeldUp,
) -> Backlog:
    """Return what groups of operations wait for; an endpoint where nothing waits has a backlog of 0.

    What a circuit holds up is no backlog: more workers would not help.
    """
    queues: dict[tuple[str, str, str], QueueBacklog] = {
        (endpoint.name, endpoint.namespace, endpoint.task_queue): QueueBacklog(
            endpoint=endpoint.name,
            handler=endpoint.namespace,
            task_queue=endpoint.task_queue,
            operations=0,
            since=None,
        )
        for endpoint in endpoints
    }
    causes: dict[tuple[str, WaitingCause], int] = {}
    for group in groups:
        is_held_up = held_up(group.endpoint, group.task_queue, group.caller)
        cause = waiting_cause(
            group.state,
            is_delayed=group.is_delayed,
            last_attempt_end=group.last_attempt_end,
            is_key_missing=group.is_key_missing,
            pollers=pollers(_queue(group)),
            is_held_up=is_held_up,
        )
        causes[group.endpoint, cause] = causes.get((group.endpoint, cause), 0) + group.operations
        if group.state is State.SCHEDULED and not (group.is_delayed or is_held_up):
            key = (group.endpoint, group.handler, group.task_queue)
            queues[key] = _added(queues.get(key), group)
    return Backlog(queues=tuple(queues.values()), causes=causes, is_complete=is_complete)


def _queue(group: WaitingGroup) -> QueueKey:
    return QueueKey(namespace=NamespaceName(group.handler), task_queue=group.task_queue)


def _added(before: QueueBacklog | None, group: WaitingGroup) -> QueueBacklog:
    since = group.since if before is None or before.since is None else min(before.since, group.since)
    return QueueBacklog(
        endpoint=group.endpoint,
        handler=group.handler,
        task_queue=group.task_queue,
        operations=group.operations + (0 if before is None else before.operations),
        since=since,
    )


def _look(reader: Reader, now: datetime) -> tuple[Sequence[Endpoint], list[WaitingGroup], bool]:
    endpoints = reader.list_endpoints("", "", MOST_ENDPOINTS)
    busy = reader.busy_endpoints("", MOST_ENDPOINTS)
    is_complete = max(len(endpoints), len(busy)) < MOST_ENDPOINTS
    groups: list[WaitingGroup] = []
    left = MOST_OPERATIONS
    for endpoint in busy:
        limit = min(left, MOST_OPERATIONS_OF_AN_ENDPOINT)
        if not limit:
            return endpoints, groups, False
        found = reader.waiting_groups(endpoint, now, limit)
        groups += found
        looked_at = sum(group.operations for group in found)
        is_complete &= looked_at < limit
        left -= looked_at
    return endpoints, groups, is_complete
