"""Which fault comes next, to whom and for how long, and which two come together: decided by a seed alone."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
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


class Part(StrEnum):
    """What a fault befalls. Two that come together befall two parts, so that neither undoes the other."""

    GATEWAYS = "gateways"
    DATABASE = "database"
    WORKERS = "workers"
    CALLERS = "callers"
    WORKER_NETWORK = "network of the workers"
    CALLER_NETWORK = "network of the callers"


PARTS = {
    FaultKind.KILL_GATEWAY: Part.GATEWAYS,
    FaultKind.MOVE_GATEWAY: Part.GATEWAYS,
    FaultKind.HANG_GATEWAY: Part.GATEWAYS,
    FaultKind.FILL_DISK: Part.GATEWAYS,
    # A gateway that starts while its clock is wrong believes it, and times out by it.
    FaultKind.MOVE_CLOCK: Part.GATEWAYS,
    FaultKind.RESTART_DATABASE: Part.DATABASE,
    FaultKind.KILL_WORKER: Part.WORKERS,
    FaultKind.HANG_WORKER: Part.WORKERS,
    FaultKind.KILL_CALLER: Part.CALLERS,
    FaultKind.LEAVING_CALLER: Part.CALLERS,
    FaultKind.CUT_WORKERS: Part.WORKER_NETWORK,
    FaultKind.SILENCE_WORKERS: Part.WORKER_NETWORK,
    FaultKind.CUT_CALLERS: Part.CALLER_NETWORK,
    FaultKind.SILENCE_CALLERS: Part.CALLER_NETWORK,
    FaultKind.SLOW_CALLERS: Part.CALLER_NETWORK,
}


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
# How often a fault does not come alone.
_TOGETHER = 0.5


def faults(seed: int, kinds: frozenset[FaultKind]) -> Iterator[tuple[Fault, ...]]:
    """Yield what comes next, for ever: one fault, or two of which one begins while the other lasts.

    Each of the kinds comes once, in any order, then each of them once again.
    """
    randomness = random.Random(seed)  # noqa: S311 - repeatable on purpose
    number = 0
    while True:
        left = sorted(kinds)
        randomness.shuffle(left)
        while left:
            chosen = [left.pop(0)]
            others = [kind for kind in left if PARTS[kind] is not PARTS[chosen[0]]]
            if others and randomness.random() < _TOGETHER:
                left.remove(others[0])
                chosen.append(others[0])
            alone = [_fault(number + nth, kind, randomness) for nth, kind in enumerate(chosen, start=1)]
            number += len(chosen)
            yield _overlapping(alone, randomness)


def _fault(number: int, kind: FaultKind, randomness: random.Random) -> Fault:
    return Fault(
        number=number,
        kind=kind,
        calm_seconds=randomness.uniform(0.0, _LONGEST_CALM_SECONDS),
        lasts_seconds=randomness.uniform(*_LASTS_SECONDS[kind]),
        choice=randomness.randrange(1_000_000),
        hours=randomness.choice([-1, 1]) * randomness.uniform(1.0, _MOST_HOURS),
    )


def _overlapping(alone: list[Fault], randomness: random.Random) -> tuple[Fault, ...]:
    first, *others = sorted(alone, key=lambda fault: fault.lasts_seconds, reverse=True)
    return first, *(
        replace(other, calm_seconds=first.calm_seconds + randomness.uniform(0.0, first.lasts_seconds))
        for other in others
    )
