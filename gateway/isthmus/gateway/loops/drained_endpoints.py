"""Deletes endpoints that drain to be deleted, when the last of their operations has ended."""

from functools import partial

from isthmus.gateway.commands.delete_endpoint import finish_draining
from isthmus.gateway.loops.repeating import RepeatingLoop
from isthmus.gateway.ports import Clock, Randomness, Reader, Store

PAUSE_SECONDS = 1.0
PAGE = 100


class DrainedEndpoints:
    """One step: delete those that are empty. Few drain at a time, and looking costs one indexed query."""

    def __init__(self, store: Store, *, clock: Clock, randomness: Randomness) -> None:
        self._store = store
        self._clock = clock
        self._randomness = randomness
        self._after = ""

    async def step(self) -> bool:
        """Delete what has drained; return whether there are more endpoints to look at."""
        names, self._after = await self._store.read(self._look)
        for name in names:
            etag, now = self._randomness.etag(), self._clock.now()
            await self._store.transact(partial(finish_draining, name=name, etag=etag, now=now))
        return bool(self._after)

    def _look(self, reader: Reader) -> tuple[list[str], str]:
        page = reader.list_draining_endpoints(self._after, PAGE)
        empty: list[str] = [
            endpoint.name
            for endpoint in page
            if endpoint.offered_to is None and not reader.open_operations(endpoint.name, 0, 1)
        ]
        return empty, str(page[-1].name) if len(page) == PAGE else ""

    def loop(self) -> RepeatingLoop:
        """Return the loop that does it for as long as the gateway runs."""
        return RepeatingLoop("drained endpoints", self.step, pause_seconds=PAUSE_SECONDS)
