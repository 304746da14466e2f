"""Deletes what is kept longer than its endpoint's retention, a little at a time.

Each step is one short transaction among those of callers and workers, with a pause behind it: a gateway that
has much to delete stays as quick as it was. SQLite uses the space again; the file does not grow, nor shrink.
"""

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.commands.publish_event import forget_events
from isthmus.gateway.commands.retire_operations import forget_identities, retire_operations
from isthmus.gateway.core.value import Value
from isthmus.gateway.loops.repeating import RepeatingLoop
from isthmus.gateway.ports import Clock, Reader, Retired, Store, UnitOfWork

ENDPOINTS = 64
# Audit records that a step looks at: two to four an operation.
RECORDS = 512
IDENTITIES = 256
EVENTS = 64
PAUSE_SECONDS = 60.0
BUSY_PAUSE_SECONDS = 0.02


class _Page(Value):
    """Endpoints that have something to retire, and the one to go on after; empty at the end."""

    due: tuple[str, ...]
    last: str


class Retention:
    """One step: retire a batch of one endpoint, or look which endpoints have something to retire."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._due: list[str] = []
        self._after = ""

    async def step(self) -> bool:
        """Do a little; return whether there may be more."""
        if self._due:
            retired = await self._store.transact(self._retire)
            if not retired.more:
                self._due.pop(0)
            return True
        page = await self._store.read(self._look)
        self._due, self._after = list(page.due), page.last
        if self._due or self._after:
            return True
        events = await self._store.transact(self._forget_events)
        return await self._store.transact(self._forget) == IDENTITIES or events == EVENTS

    def _forget_events(self, uow: UnitOfWork) -> int:
        return forget_events(uow, now=self._clock.now(), limit=EVENTS)

    def _retire(self, uow: UnitOfWork) -> Retired:
        return retire_operations(uow, self._due[0], now=self._clock.now(), limit=RECORDS)

    def _forget(self, uow: UnitOfWork) -> int:
        return forget_identities(uow, now=self._clock.now(), limit=IDENTITIES)

    def _look(self, reader: Reader) -> _Page:
        endpoints = reader.list_every_endpoint(self._after, ENDPOINTS)
        due = tuple(endpoint.name for endpoint in endpoints if self._is_due(reader, endpoint))
        return _Page(due=due, last=endpoints[-1].name if len(endpoints) == ENDPOINTS else "")

    def _is_due(self, reader: Reader, endpoint: Endpoint) -> bool:
        return reader.is_retention_due(endpoint.name, self._clock.now() - endpoint.retention)

    def loop(self) -> RepeatingLoop:
        """Return the loop that does it for as long as the gateway runs."""
        return RepeatingLoop(
            "retention", self.step, pause_seconds=PAUSE_SECONDS, busy_pause_seconds=BUSY_PAUSE_SECONDS
        )
