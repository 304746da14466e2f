"""Ends operations whose time is over: never early, and within a second while store and clock are healthy."""

from isthmus.gateway.commands.expire_operations import expire_operations
from isthmus.gateway.loops.repeating import RepeatingLoop
from isthmus.gateway.ports import Clock, Store, UnitOfWork

BATCH = 256
# A look costs one indexed query and no disk write. New operations may be due before any that is known, so
# sleeping until the next known one would need a wake-up with every start.
PAUSE_SECONDS = 0.25
# A store that is back is found soon enough for the promise of a second.
TROUBLE_PAUSE_SECONDS = 0.5


class Timeouts:
    """One step: end up to BATCH overdue operations."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def step(self) -> bool:
        """End what is overdue; return whether there may be more."""

        def command(uow: UnitOfWork) -> int:
            return len(expire_operations(uow, now=self._clock.now(), limit=BATCH))

        return await self._store.transact(command) == BATCH

    def loop(self) -> RepeatingLoop:
        """Return the loop that does it for as long as the gateway runs."""
        return RepeatingLoop(
            "timeouts",
            self.step,
            pause_seconds=PAUSE_SECONDS,
            trouble_pause_seconds=TROUBLE_PAUSE_SECONDS,
        )
