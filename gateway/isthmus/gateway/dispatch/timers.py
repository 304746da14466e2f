"""Timers on the gateway's clock, so that tests can move the time instead of sleeping."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from isthmus.gateway.ports import Clock


class Timer(Protocol):
    """A call that lies ahead."""

    def cancel(self) -> None:
        """Do not call."""
        ...


class Timers(Protocol):
    """Calls back at a time of the clock."""

    def call_at(self, when: datetime, callback: Callable[[], None]) -> Timer:
        """Call once, at ``when`` or as soon as possible after it, on the event loop."""
        ...


class LoopTimers:
    """Timers of the running event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def call_at(self, when: datetime, callback: Callable[[], None]) -> Timer:
        """Call once, at ``when`` or as soon as possible after it."""
        delay = (when - self._clock.now()).total_seconds()
        return asyncio.get_running_loop().call_later(max(0.0, delay), callback)
