"""Reads the history of a run: was anything lost, changed, stuck, ended early or late, or let wait unfairly?

Pure: ``test_checker.py`` plants each violation, and expects it to be found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.faults.kill import checker as kill_checker
from tests.faults.records import CallerHistory, History, Timing, Trouble
from tests.faults.signals import check_signals
from tests.faults.troubles import healthy_us
from tests.faults.turns import waits_of
from tests.faults.work import ending_of

LATEST_US = 1_000_000
"""How late a timeout may be, counted while store and gateway are healthy."""


class Problem(StrEnum):
    """What must never happen, besides what the checker of the kill test knows."""

    EARLY = "a timeout ended it before its time"
    LATE = "a timeout ended it later than a second after its time, but for what kept the gateway from it"
    UNFAIR = "another caller had more turns while it waited than there are gateways, or two in one lease"


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
    findings += _check_turns(history)
    return findings


def _check_signals(caller: str, its: CallerHistory, history: History) -> Iterator[Finding]:
    operations = {entry.operation_id for entry in its.stored}
    heard = [entry for entry in history.heard if entry.operation_id in operations]
    answered = {entry.operation_id: entry.digest for entry in its.log.received}
    for problem, operation_id, detail in check_signals(its.signaled, heard, answered):
        yield Finding(problem=problem, caller=caller, operation_id=operation_id, detail=detail)


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
        late = healthy_us(due, timing.closed_us, troubles)
        if late > LATEST_US:
            yield _found(Problem.LATE, caller, timing, f"{late} us")


def _found(problem: Problem, caller: str, timing: Timing, detail: str) -> Finding:
    return Finding(problem=problem, caller=caller, operation_id=timing.operation_id, detail=detail)


def _check_turns(history: History) -> Iterator[Finding]:
    for wait in waits_of(history):
        if wait.is_unfair:
            yield Finding(
                problem=Problem.UNFAIR,
                caller=wait.event.caller,
                operation_id=wait.event.operation_id,
                detail=f"from {wait.event.position}: {dict(wait.turns)}, allowed: {wait.allowed}",
            )
