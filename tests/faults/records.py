"""What callers, the store and the harness say of a run, as values. Moments are Unix microseconds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.faults.kill.records import CallerLog, Run, Stored
from tests.faults.signals import Heard, Signaled


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """When a caller wrote down what, job by job: before its start, and when it heard of the end first."""

    intended_us: Mapping[int, int]
    received_us: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """An operation's clocks and its end, by the gateway; an ending by a timeout names which one."""

    operation_id: str
    scheduled_us: int
    dispatched_us: int | None
    start_to_close_us: int | None
    schedule_to_close_at_us: int
    closed_us: int | None
    timeout: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEvent:
    """What the audit log says about a queue, in its order: an operation begins to wait, goes out, or ends."""

    position: int
    caller: str
    operation_id: str
    what: str


WAITS, GOES_OUT, ENDS = "waits", "goes out", "ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """When something kept the gateway from its work, which it need not make good at once."""

    why: str
    begin_us: int
    end_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerHistory:
    """What one calling namespace and the store say of its operations."""

    log: CallerLog
    moments: Moments
    stored: tuple[Stored, ...]
    timings: tuple[Timing, ...]
    signaled: tuple[Signaled, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything that was written down in a run.

    ``restarts`` are positions of the audit log: what is up to there, an earlier process of a gateway wrote.
    """

    callers: Mapping[str, CallerHistory]
    ledger: tuple[Run, ...]
    queue: tuple[QueueEvent, ...]
    troubles: tuple[Trouble, ...] = ()
    restarts: tuple[int, ...] = ()
    gateways: int = 1
    heard: tuple[Heard, ...] = ()


def caller_log(lines: Iterable[Mapping[str, Any]]) -> tuple[CallerLog, Moments]:
    """Read the lines of a caller's journal."""
    intended_us: dict[int, int] = {}
    received_us: dict[int, int] = {}
    timeless: list[Mapping[str, Any]] = []
    for line in lines:
        if line["event"] in {"signaling", "signaled"}:
            continue
        at = {"intended": intended_us, "received": received_us}.get(line["event"])
        if at is not None:
            at.setdefault(line["number"], line["at_us"])
        timeless.append({name: value for name, value in line.items() if name != "at_us"})
    return CallerLog.of(timeless), Moments(intended_us=intended_us, received_us=received_us)
