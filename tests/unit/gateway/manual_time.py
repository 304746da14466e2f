"""A clock that stands still until the test moves it, and timers on it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2030, 5, 17, 12, 0, 0, tzinfo=UTC)


class ManualClock:
    """The clock."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def now(self) -> datetime:
        """The time that the test set."""
        return self.at

    def now_ms(self) -> int:
        """The time in Unix milliseconds."""
        return round(self.at.timestamp() * 1000)


class ManualTimer:
    """A call that lies ahead."""

    def __init__(self, when: datetime, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.is_canceled = False

    def cancel(self) -> None:
        """Do not call."""
        self.is_canceled = True


class ManualTimers:
    """Timers that fire when the test moves the time past them."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.pending: list[ManualTimer] = []

    def call_at(self, when: datetime, callback: Callable[[], None]) -> ManualTimer:
        """Call when the time has come."""
        timer = ManualTimer(when, callback)
        self.pending.append(timer)
        return timer

    def advance(self, by: timedelta) -> None:
        """Move the time, and fire what is due, in order."""
        self.clock.at += by
        due = sorted(
            (timer for timer in self.pending if timer.when <= self.clock.at), key=lambda timer: timer.when
        )
        self.pending = [timer for timer in self.pending if timer.when > self.clock.at]
        for timer in due:
            if not timer.is_canceled:
                asyncio.get_running_loop().call_soon(timer.callback)


class FixedRandomness:
    """No jitter."""

    def jitter(self) -> float:
        """Draw the one value."""
        return 0.0

    def etag(self) -> str:
        """Draw the one value."""
        return "etag"
