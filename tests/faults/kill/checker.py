"""Joins the caller's log, the handlers' ledgers and the store: was anything lost, repeated or changed?"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.faults.kill.jobs import Job
from tests.faults.kill.records import CallerLog, Run, Stored

TERMINAL = frozenset({"succeeded", "failed", "canceled", "timed_out", "denied"})
# Ended by the gateway: no run of a handler made it.
_STATEMENTS = frozenset({"timed_out"})


class Problem(StrEnum):
    """What must never happen."""

    LOST = "acknowledged, and the store does not know it"
    OPEN = "acknowledged, and it has not ended"
    UNHEARD = "it ended, and its caller never learned how"
    CHANGED = "its outcome changed"
    WRONG_ENDING = "it did not end as its job had to"
    DISAGREES = "the store and the caller tell of different endings"
    UNEXPLAINED = "no run of its handler made its outcome"
    DUPLICATED = "one job became two operations"
    UNKNOWN = "the store has an operation that was never acknowledged"
    AUDIT = "its start or its end is not on record exactly once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem and where it is."""

    problem: Problem
    operation_id: str
    detail: str = ""


class OutcomeWatch:
    """Compares snapshots of the store: an outcome that was there once stays as it is."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, str]] = {}
        self.findings: list[Finding] = []

    def look(self, stored: Iterable[Stored]) -> None:
        """Compare a snapshot with those before."""
        current = {entry.operation_id: (entry.state, entry.outcome_digest) for entry in stored}
        for operation_id, outcome in self._seen.items():
            if current.get(operation_id) != outcome:
                self.findings.append(
                    Finding(
                        problem=Problem.CHANGED,
                        operation_id=operation_id,
                        detail=f"{outcome}, then {current.get(operation_id)}",
                    )
                )
        self._seen |= {key: outcome for key, outcome in current.items() if outcome[0] in TERMINAL}


def _ending_of_job(number: int) -> str:
    return Job(number=number).ending


def check(
    log: CallerLog,
    ledger: Sequence[Run],
    stored: Sequence[Stored],
    *,
    ending_of: Callable[[int], str] = _ending_of_job,
) -> list[Finding]:
    """Return everything that is wrong, for a caller and workers that have ended.

    ``ending_of`` says how the job with a number has to end.
    """
    operations = {entry.operation_id: entry for entry in stored}
    acknowledged = {entry.operation_id: entry.number for entry in log.acknowledged}
    heard: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for entry in log.received:
        heard[entry.operation_id].add((entry.ending, entry.digest))
    made = {(run.operation_id, run.digest) for run in ledger}
    findings = [*_duplicates(log), *_unknown(operations, acknowledged)]
    for operation_id, number in acknowledged.items():
        found = _check_one(
            operations.get(operation_id), heard[operation_id], operation_id, made=made, due=ending_of(number)
        )
        findings += [
            Finding(problem=problem, operation_id=operation_id, detail=f"job {number}: {detail}")
            for problem, detail in found
        ]
    return findings


def _check_one(
    stored: Stored | None,
    heard: set[tuple[str, str]],
    operation_id: str,
    *,
    made: set[tuple[str, str]],
    due: str,
) -> list[tuple[Problem, str]]:
    if stored is None:
        return [(Problem.LOST, "")]
    found: list[tuple[Problem, str]] = []
    if stored.state not in TERMINAL:
        found.append((Problem.OPEN, stored.state))
    if not heard:
        found.append((Problem.UNHEARD, stored.state))
    if len(heard) > 1:
        found.append((Problem.CHANGED, str(sorted(heard))))
    for ending, digest in heard:
        if ending != stored.state:
            found.append((Problem.DISAGREES, f"{ending}, {stored.state}"))
        if ending != due:
            found.append((Problem.WRONG_ENDING, ending))
        if ending not in _STATEMENTS and (operation_id, digest) not in made:
            found.append((Problem.UNEXPLAINED, digest))
    if (stored.starts, stored.ends) != (1, 1):
        found.append((Problem.AUDIT, f"{stored.starts} starts, {stored.ends} ends"))
    return found


def _duplicates(log: CallerLog) -> list[Finding]:
    ids: dict[int, set[str]] = defaultdict(set)
    for entry in log.acknowledged:
        ids[entry.number].add(entry.operation_id)
    return [
        Finding(problem=Problem.DUPLICATED, operation_id=operation_id, detail=f"job {number}")
        for number, several in ids.items()
        if len(several) > 1
        for operation_id in sorted(several)
    ]


def _unknown(operations: Mapping[str, Stored], acknowledged: Mapping[str, int]) -> list[Finding]:
    # The caller takes up everything that it intended: in the end all of it is acknowledged.
    return [
        Finding(problem=Problem.UNKNOWN, operation_id=operation_id)
        for operation_id in operations.keys() - acknowledged.keys()
    ]
