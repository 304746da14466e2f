"""The world as it is: the system's clock, random numbers and timers."""

import random
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from isthmus.gateway.dispatch.timers import LoopTimers, Timers
from isthmus.gateway.ports import Clock, Randomness
from isthmus.gateway.steady_clock import SteadyClock

_ETAG_BYTES = 12


class WallClock:
    """The system's clock, wherever somebody sets it: what credentials are compared with."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return datetime.now(UTC)


class SystemRandomness:
    """Random numbers of the operating system, where it matters that nobody can guess them."""

    def jitter(self) -> float:
        """Draw from [0, 1)."""
        return random.random()  # noqa: S311 - spreads retries, hides nothing

    def etag(self) -> str:
        """Draw a short unique text."""
        return secrets.token_urlsafe(_ETAG_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a gateway takes from outside; tests bring their own clock.

    Operations go by ``clock``; credentials and sealed messages, whose times others wrote, by ``wall_clock``.
    """

    clock: Clock
    wall_clock: Clock
    timers: Timers
    randomness: Randomness


def real_surroundings() -> Surroundings:
    """Return the world as it is."""
    clock = SteadyClock()
    return Surroundings(
        clock=clock, wall_clock=WallClock(), timers=LoopTimers(clock), randomness=SystemRandomness()
    )
