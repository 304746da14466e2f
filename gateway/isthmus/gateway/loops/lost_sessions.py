"""Takes back the tasks of workers that were not heard of for as long as their lease lasts."""

from collections.abc import Callable, Iterable

from isthmus.gateway.commands.worker_sessions import lose_sessions
from isthmus.gateway.loops.repeating import RepeatingLoop
from isthmus.gateway.ports import Clock, Randomness, Store, UnitOfWork, WorkerSession

BATCH = 64
PAUSE_SECONDS = 0.5

Drop = Callable[[Iterable[WorkerSession]], None]
"""Closes the connections of lost sessions."""


class LostSessions:
    """One step: forget up to BATCH sessions whose lease ran out."""

    def __init__(self, store: Store, *, clock: Clock, randomness: Randomness, drop: Drop) -> None:
        self._store = store
        self._clock = clock
        self._randomness = randomness
        self._drop = drop

    async def step(self) -> bool:
        """Forget lost sessions; return whether there may be more."""

        def command(uow: UnitOfWork) -> tuple[WorkerSession, ...]:
            return lose_sessions(uow, now=self._clock.now(), limit=BATCH, jitter=self._randomness.jitter)

        lost = await self._store.transact(command)
        self._drop(lost)
        return len(lost) == BATCH

    def loop(self) -> RepeatingLoop:
        """Return the loop that does it for as long as the gateway runs."""
        return RepeatingLoop("lost sessions", self.step, pause_seconds=PAUSE_SECONDS)
