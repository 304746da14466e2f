"""What callers, the store and the harness say of a run, as values. Moments are Unix microseconds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.faults.kill.records import CallerLog, Run, Stored
from tests.faults.signals import Heard, Signaled


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """When a caller wrote down what, job by job: before its start, and what it heard first."""

    intended_us: Mapping[int, int]
    acknowledged_us: Mapping[int, int]
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
    """What the audit log says about a queue, in its order: an operation begins to wait, goes out, or ends.

    ``at_us`` is when the gateway began with it, and ``session`` to whom it goes out.
    """

    position: int
    caller: str
    operation_id: str
    what: str
    at_us: int = 0
    session: str = ""


WAITS, GOES_OUT, ENDS = "waits", "goes out", "ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """When something kept the gateway from its work, which it need not make good at once.

    ``new_rounds`` says how many gateways forgot meanwhile whose turn it was.
    """

    why: str
    begin_us: int
    end_us: int
    new_rounds: int = 0


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
    """Everything that was written down in a run."""

    callers: Mapping[str, CallerHistory]
    ledger: tuple[Run, ...]
    queue: tuple[QueueEvent, ...]
    troubles: tuple[Trouble, ...] = ()
    gateways: int = 1
    heard: tuple[Heard, ...] = ()


def caller_log(lines: Iterable[Mapping[str, Any]]) -> tuple[CallerLog, Moments]:
    """Read the lines of a caller's journal."""
    intended_us: dict[int, int] = {}
    acknowledged_us: dict[int, int] = {}
    received_us: dict[int, int] = {}
    timeless: list[Mapping[str, Any]] = []
    for line in lines:
        if line["event"] in {"signaling", "signaled"}:
            continue
        at = {"intended": intended_us, "acknowledged": acknowledged_us, "received": received_us}.get(
            line["event"]
        )
        if at is not None:
            at.setdefault(line["number"], line["at_us"])
        timeless.append({name: value for name, value in line.items() if name != "at_us"})
    return CallerLog.of(timeless), Moments(
        intended_us=intended_us, acknowledged_us=acknowledged_us, received_us=received_us
    )
