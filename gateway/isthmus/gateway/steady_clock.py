"""Time that nobody can set: the wall clock of the moment it was made, and from then on what elapsed."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_LOG = logging.getLogger(__name__)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000_000  # ns
# Differences up to here are those of good clocks, and are followed, a millisecond in a second.
MOST_FOLLOWED = _SECOND
_FOLLOWED_SHARE = 1000

Nanoseconds = Callable[[], int]


def elapsed() -> int:
    """Return nanoseconds that only grow; on Linux they count the time that the machine slept, too."""
    boot_clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if boot_clock is None else time.clock_gettime_ns(boot_clock)


class SteadyClock:
    """What timeouts, leases and backoffs go by.

    If the machine's clock is set by hours while the gateway runs, no timeout comes early and none late: the
    gateway goes on by elapsed time, and says so in its log. Only a new process takes over the new time.
    """

    def __init__(self, *, wall: Nanoseconds = time.time_ns, elapsed: Nanoseconds = elapsed) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._started = wall() - elapsed()
        self._compared_at = elapsed()
        self._newest = 0
        self._told = 0

    def now(self) -> datetime:
        """Return the time, aware, in UTC; never before what it returned last."""
        at = self._elapsed()
        if at - self._compared_at >= _SECOND:
            self._compare(at)
        self._newest = max(self._newest, self._started + at)
        return _EPOCH + timedelta(microseconds=self._newest // 1000)

    def _compare(self, at: int) -> None:
        difference = self._wall() - (self._started + at)
        if abs(difference) <= MOST_FOLLOWED:
            most = (at - self._compared_at) // _FOLLOWED_SHARE
            self._started += max(-most, min(most, difference))
            self._told = 0
        elif abs(difference - self._told) > MOST_FOLLOWED:
            self._told = difference
            _LOG.warning(
                "the machine's clock was set: it is %.0f s off what elapsed since the gateway started. "
                "Timeouts and leases go on by elapsed time; a restart of the gateway takes over the new time",
                difference / _SECOND,
            )
        self._compared_at = at
