"""A loop that survives its store: step after step, with a pause that grows while there is trouble."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from isthmus.gateway.core.errors import GatewayError

_LOG = logging.getLogger(__name__)
MAX_TROUBLE_SECONDS = 5.0

Step = Callable[[], Awaitable[bool]]
"""Does some work; returns whether more is waiting right now."""


class RepeatingLoop:
    """Runs a step again and again until it is stopped.

    ``pause_seconds`` is the time between two steps when nothing waits, ``busy_pause_seconds`` when more does.
    After errors the pause doubles, up to ``trouble_pause_seconds``; the first success resets it. Of errors
    that follow each other the log gets the first, the second, the fourth, the eighth …
    """

    def __init__(
        self,
        name: str,
        step: Step,
        *,
        pause_seconds: float,
        busy_pause_seconds: float = 0.0,
        trouble_pause_seconds: float = MAX_TROUBLE_SECONDS,
    ) -> None:
        self._name = name
        self._step = step
        self._pause_seconds = pause_seconds
        self._busy_pause_seconds = busy_pause_seconds
        self._trouble_pause_seconds = trouble_pause_seconds
        self._stopping = asyncio.Event()
        self._troubles = 0

    async def run(self) -> None:
        """Run until ``stop``."""
        while not self._stopping.is_set():
            pause = await self.turn()
            if pause > 0:
                await self._sleep(pause)

    def stop(self) -> None:
        """End the loop after the step under way; it may be called more than once."""
        self._stopping.set()

    async def turn(self) -> float:
        """Run one step; return how many seconds to pause before the next one."""
        try:
            more = await self._step()
        except GatewayError as error:
            if self._is_to_be_logged():
                _LOG.warning("%s: %s", self._name, error.message)
        except Exception:  # noqa: BLE001
            # Whatever it is, a gateway that never times anything out again would be worse.
            if self._is_to_be_logged():
                _LOG.exception("%s failed and goes on", self._name)
        else:
            self._troubles = 0
            return self._busy_pause_seconds if more else self._pause_seconds
        self._troubles += 1
        return float(min(self._pause_seconds * 2 ** min(self._troubles, 10), self._trouble_pause_seconds))

    def _is_to_be_logged(self) -> bool:
        return (self._troubles + 1) & self._troubles == 0

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
