"""Keeps up with circuits and ramps that changed elsewhere, and closes circuits that nobody needs."""

from isthmus.gateway.dispatch.dispatcher import Dispatcher
from isthmus.gateway.loops.repeating import RepeatingLoop

PAUSE_SECONDS = 1.0


class CircuitReviews:
    """One step: look into the store and, if a circuit is open, what became of its probe."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._circuits = dispatcher.circuits
        self._routes = dispatcher.routes

    async def step(self) -> bool:
        """Look at what is open."""
        await self._routes.refresh()
        await self._circuits.refresh()
        if len(self._circuits):
            await self._circuits.review()
        return False

    def loop(self) -> RepeatingLoop:
        """Return the loop that does it for as long as the gateway runs."""
        return RepeatingLoop("circuits", self.step, pause_seconds=PAUSE_SECONDS)
