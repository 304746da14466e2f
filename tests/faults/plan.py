"""Which fault comes next, to whom and for how long: decided by a seed alone."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """What can go wrong."""

    KILL_GATEWAY = "kill -9 of the gateway"
    KILL_WORKER = "kill -9 of a worker"
    KILL_CALLER = "kill -9 of a caller"
    MOVE_GATEWAY = "gateway killed and started elsewhere"
    RESTART_DATABASE = "database stopped and started"
    CUT_CALLERS = "connections of the callers cut"
    CUT_WORKERS = "connections of the workers cut"
    SILENCE_CALLERS = "connections of the callers half-open"
    SILENCE_WORKERS = "connections of the workers half-open"
    FILL_DISK = "disk full"
    MOVE_CLOCK = "clock moved by hours"
    HANG_WORKER = "worker hangs for longer than its lease, then answers"
    HANG_GATEWAY = "gateway hangs"
    SLOW_CALLERS = "callers read slowly"
    LEAVING_CALLER = "a caller disconnects amid its calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: after ``calm_seconds`` it begins, and after ``lasts_seconds`` more it is over.

    ``choice`` picks among several victims; ``hours`` is how far a clock is moved.
    """

    number: int
    kind: FaultKind
    calm_seconds: float
    lasts_seconds: float
    choice: int
    hours: float


_LASTS_SECONDS = {
    FaultKind.KILL_GATEWAY: (0.0, 0.5),
    FaultKind.KILL_WORKER: (0.0, 0.5),
    FaultKind.KILL_CALLER: (0.0, 0.5),
    FaultKind.MOVE_GATEWAY: (0.0, 0.5),
    FaultKind.RESTART_DATABASE: (0.0, 2.0),
    FaultKind.CUT_CALLERS: (0.0, 0.0),
    FaultKind.CUT_WORKERS: (0.0, 0.0),
    FaultKind.SILENCE_CALLERS: (0.5, 3.0),
    FaultKind.SILENCE_WORKERS: (0.5, 3.0),
    FaultKind.FILL_DISK: (0.5, 2.0),
    FaultKind.MOVE_CLOCK: (0.5, 2.0),
    # The lease is five seconds.
    FaultKind.HANG_WORKER: (5.5, 7.0),
    FaultKind.HANG_GATEWAY: (0.2, 1.5),
    FaultKind.SLOW_CALLERS: (0.5, 2.0),
    FaultKind.LEAVING_CALLER: (0.0, 0.0),
}
_LONGEST_CALM_SECONDS = 1.0
_MOST_HOURS = 48.0


def faults(seed: int, kinds: frozenset[FaultKind]) -> Iterator[Fault]:
    """Yield faults for ever: each of the kinds once, in any order, then each of them once again."""
    randomness = random.Random(seed)  # noqa: S311 - repeatable on purpose
    number = 0
    while True:
        order = sorted(kinds)
        randomness.shuffle(order)
        for kind in order:
            number += 1
            yield Fault(
                number=number,
                kind=kind,
                calm_seconds=randomness.uniform(0.0, _LONGEST_CALM_SECONDS),
                lasts_seconds=randomness.uniform(*_LASTS_SECONDS[kind]),
                choice=randomness.randrange(1_000_000),
                hours=randomness.choice([-1, 1]) * randomness.uniform(1.0, _MOST_HOURS),
            )
