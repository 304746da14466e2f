"""Reads the history of a run: was anything lost, changed, stuck, ended early or late, or let wait unfairly?

Pure: ``test_checker.py`` plants each violation, and expects it to be found.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.faults.kill import checker as kill_checker
from tests.faults.records import (
    ENDS,
    GOES_OUT,
    WAITS,
    CallerHistory,
    History,
    QueueEvent,
    Timing,
    Trouble,
)
from tests.faults.signals import check_signals
from tests.faults.work import ending_of

LATEST_US = 1_000_000
"""How late a timeout may be while store and gateway are healthy."""


LEASED_AT_ONCE = 16
"""Tasks that one lease takes at most: as many as a worker of the run has room for."""


class Problem(StrEnum):
    """What must never happen, besides what the checker of the kill test knows."""

    EARLY = "a timeout ended it before its time"
    LATE = "a timeout ended it later than a second after its time, and nothing kept the gateway from it"
    UNFAIR = "another caller was served twice while it waited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem and where it is."""

    problem: str
    caller: str
    operation_id: str
    detail: str = ""

    def __str__(self) -> str:
        """One line."""
        return f"{self.caller} {self.operation_id}: {self.problem} ({self.detail})"


def check(history: History) -> list[Finding]:
    """Return everything that is wrong, for a run that has ended."""
    findings: list[Finding] = []
    for caller, its in history.callers.items():
        ended = kill_checker.check(its.log, history.ledger, its.stored, ending_of=ending_of)
        findings += [
            Finding(problem=f.problem, caller=caller, operation_id=f.operation_id, detail=f.detail)
            for f in ended
        ]
        findings += _check_timeouts(caller, its, history.troubles)
        findings += _check_signals(caller, its, history)
    findings += _check_turns(history.queue, history.restarts, gateways=history.gateways)
    return findings


def _check_signals(caller: str, its: CallerHistory, history: History) -> Iterator[Finding]:
    operations = {entry.operation_id for entry in its.stored}
    heard = [entry for entry in history.heard if entry.operation_id in operations]
    answered = {entry.operation_id: entry.digest for entry in its.log.received}
    for problem, operation_id, detail in check_signals(its.signaled, heard, answered):
        yield Finding(problem=problem, caller=caller, operation_id=operation_id, detail=detail)


def lateness_us(due_us: int, closed_us: int, troubles: Sequence[Trouble]) -> int:
    """Return the longest time without trouble between two moments: for how long it is late for no reason."""
    longest, healthy_since = 0, due_us
    for trouble in sorted(troubles, key=lambda each: each.begin_us):
        if trouble.end_us <= due_us or trouble.begin_us >= closed_us:
            continue
        longest = max(longest, trouble.begin_us - healthy_since)
        healthy_since = max(healthy_since, trouble.end_us)
    return max(longest, closed_us - healthy_since)


def due_us(timing: Timing) -> int:
    """Return when the timeout that ended an operation elapsed."""
    if timing.timeout == "start_to_close":
        return (timing.dispatched_us or 0) + (timing.start_to_close_us or 0)
    return timing.schedule_to_close_at_us


def _shortest_us(timing: Timing) -> int:
    """Return for how long the caller has to wait at least until it hears of the timeout."""
    if timing.timeout == "start_to_close":
        return timing.start_to_close_us or 0
    return timing.schedule_to_close_at_us - timing.scheduled_us


def _check_timeouts(caller: str, history: CallerHistory, troubles: Sequence[Trouble]) -> Iterator[Finding]:
    numbers = {entry.operation_id: entry.number for entry in history.log.acknowledged}
    for timing in history.timings:
        if not timing.timeout or timing.closed_us is None:
            continue
        due = due_us(timing)
        if timing.closed_us < due:
            yield _found(Problem.EARLY, caller, timing, f"{due - timing.closed_us} us by its own clock")
        number = numbers.get(timing.operation_id, 0)
        intended, received = (
            of.get(number) for of in (history.moments.intended_us, history.moments.received_us)
        )
        # Whatever the gateway believes: it cannot have scheduled it before its caller meant to start it.
        if intended is not None and received is not None and received - intended < _shortest_us(timing):
            yield _found(Problem.EARLY, caller, timing, f"after {received - intended} us for the caller")
        late = lateness_us(due, timing.closed_us, troubles)
        if late > LATEST_US:
            yield _found(Problem.LATE, caller, timing, f"{late} us")


def _found(problem: Problem, caller: str, timing: Timing, detail: str) -> Finding:
    return Finding(problem=problem, caller=caller, operation_id=timing.operation_id, detail=detail)


class _Waiting:
    """An operation that is its caller's only one, and whom the others were served since it waits."""

    def __init__(self, event: QueueEvent) -> None:
        self.event = event
        self.served: Counter[str] = Counter()


def _check_turns(queue: Sequence[QueueEvent], restarts: Sequence[int], *, gateways: int) -> Iterator[Finding]:
    """Find callers that were passed over.

    With F others, an operation goes out within the next F + 1 dispatches: as all weights are 1, nobody else
    has two turns in that time. A caller's own operations stand in line behind each other, so that only those
    count that are alone; a restart begins a new round.

    Of several gateways each has its own rounds, and one lease under way: it may commit after a start that it
    did not see.
    """
    open_operations: dict[str, set[str]] = defaultdict(set)
    waiting: dict[str, _Waiting] = {}
    left = sorted(restarts)
    for event in queue:
        while left and left[0] < event.position:
            left.pop(0)
            for entry in waiting.values():
                entry.served.clear()
        is_new = event.operation_id not in open_operations[event.caller]
        match event.what:
            case what if what == WAITS:
                if not open_operations[event.caller]:
                    waiting[event.operation_id] = _Waiting(event)
                open_operations[event.caller].add(event.operation_id)
            case what if what == GOES_OUT:
                yield from _judge(waiting.pop(event.operation_id, None), most=_most_turns(gateways))
                for entry in waiting.values():
                    if entry.event.caller != event.caller:
                        entry.served[event.caller] += 1
                if is_new:
                    open_operations[event.caller].add(event.operation_id)
            case what if what == ENDS:
                waiting.pop(event.operation_id, None)
                open_operations[event.caller].discard(event.operation_id)
            case unknown:
                raise AssertionError(unknown)


def _most_turns(gateways: int) -> int:
    return 1 if gateways == 1 else gateways * (1 + LEASED_AT_ONCE)


def _judge(entry: _Waiting | None, *, most: int) -> Iterator[Finding]:
    if entry is not None and any(times > most for times in entry.served.values()):
        yield Finding(
            problem=Problem.UNFAIR,
            caller=entry.event.caller,
            operation_id=entry.event.operation_id,
            detail=f"from {entry.event.position}: {dict(entry.served)}",
        )
