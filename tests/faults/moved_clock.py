"""A system clock that a file moves: for the gateways of the fault tests, and for nobody else."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from isthmus.gateway.dispatch.timers import LoopTimers
from isthmus.gateway.steady_clock import SteadyClock
from isthmus.gateway.system import Surroundings, SystemRandomness

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def move_clock(file: Path, seconds: float) -> None:
    """Move the clock of every gateway that looks at this file; it is written in one piece."""
    written = file.with_suffix(".next")
    written.write_text(repr(seconds), encoding="ascii")
    written.replace(file)


@dataclass(frozen=True, slots=True)
class MovedWallClock:
    """The clock of a machine that the file moves."""

    file: Path

    def nanoseconds(self) -> int:
        """Return Unix time."""
        seconds = float(self.file.read_text(encoding="ascii")) if self.file.exists() else 0.0
        return time.time_ns() + round(seconds * 1e9)

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return _EPOCH + timedelta(microseconds=self.nanoseconds() // 1000)


def surroundings_of(file: Path) -> Surroundings:
    """Return the world as it is on a machine whose clock the file moves."""
    wall_clock = MovedWallClock(file)
    clock = SteadyClock(wall=wall_clock.nanoseconds)
    return Surroundings(
        clock=clock, wall_clock=wall_clock, timers=LoopTimers(clock), randomness=SystemRandomness()
    )
