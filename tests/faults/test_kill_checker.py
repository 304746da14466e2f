"""The checker of the kill test finds what is planted, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.faults.kill.checker import Finding, OutcomeWatch, Problem, check
from tests.faults.kill.durable_lines import Journal, read_journal
from tests.faults.kill.jobs import Job
from tests.faults.kill.records import Acknowledged, CallerLog, Received, Run, Stored

JOBS = range(1, 21)


def _id(number: int) -> str:
    return f"op-{number}"


def _log() -> CallerLog:
    return CallerLog(
        intended=tuple(JOBS),
        acknowledged=tuple(Acknowledged(number=n, operation_id=_id(n)) for n in JOBS),
        received=tuple(
            Received(number=n, operation_id=_id(n), ending=Job(number=n).ending, digest=f"digest-{n}")
            for n in JOBS
        ),
    )


def _ledger() -> list[Run]:
    first = [Run(operation_id=_id(n), number=n, attempt=1, digest=f"lost-{n}") for n in JOBS]
    return first + [Run(operation_id=_id(n), number=n, attempt=2, digest=f"digest-{n}") for n in JOBS]


def _stored() -> list[Stored]:
    return [
        Stored(
            operation_id=_id(n),
            state=Job(number=n).ending.value,
            outcome_digest=f"sealed-{n}",
            starts=1,
            ends=1,
        )
        for n in JOBS
    ]


def _problems(findings: list[Finding]) -> set[tuple[Problem, str]]:
    return {(finding.problem, finding.operation_id) for finding in findings}


def test_checker_finds_nothing_when_all_is_well() -> None:
    """A job that ran twice and has one outcome is as it should be."""
    assert check(_log(), _ledger(), _stored()) == []


def test_checker_finds_a_loss_when_the_store_forgot_an_operation() -> None:
    """Acknowledged means durable."""
    assert _problems(check(_log(), _ledger(), _stored()[1:])) == {(Problem.LOST, _id(1))}


def test_checker_finds_an_operation_when_it_has_not_ended() -> None:
    """Every operation reaches an outcome, and its caller hears of it."""
    first, *others = _stored()
    stuck = replace(first, state="dispatched", ends=0)
    log = _log()
    deaf = replace(log, received=log.received[1:])
    assert _problems(check(deaf, _ledger(), [stuck, *others])) == {
        (Problem.OPEN, _id(1)),
        (Problem.UNHEARD, _id(1)),
        (Problem.AUDIT, _id(1)),
    }


def test_checker_finds_a_change_when_the_caller_heard_two_outcomes() -> None:
    """The first outcome is the outcome, even if a handler made both."""
    log = _log()
    other = replace(log.received[0], digest="lost-1")
    changed = replace(log, received=(*log.received, other))
    assert _problems(check(changed, _ledger(), _stored())) == {(Problem.CHANGED, _id(1))}


def test_checker_finds_a_forgery_when_no_run_made_the_outcome() -> None:
    """A result that no handler wrote into its ledger came from nowhere."""
    ledger = [run for run in _ledger() if run.digest != "digest-4"]
    assert _problems(check(_log(), ledger, _stored())) == {(Problem.UNEXPLAINED, _id(4))}


def test_checker_finds_a_mix_up_when_an_outcome_belongs_to_another_operation() -> None:
    """That some run made it is not enough: it must be a run of this operation."""
    log = _log()
    swapped = (replace(log.received[0], digest="digest-2"), *log.received[1:])
    assert _problems(check(replace(log, received=swapped), _ledger(), _stored())) == {
        (Problem.UNEXPLAINED, _id(1))
    }


def test_checker_finds_a_disagreement_when_the_store_tells_of_another_ending() -> None:
    """Store and caller tell of the same ending."""
    first, *others = _stored()
    assert _problems(check(_log(), _ledger(), [replace(first, state="failed"), *others])) == {
        (Problem.DISAGREES, _id(1))
    }


def test_checker_finds_a_wrong_ending_when_a_job_fails_that_should_not() -> None:
    """A job that succeeds whenever it runs cannot have failed."""
    log = _log()
    failed = (replace(log.received[0], ending="failed"), *log.received[1:])
    first, *others = _stored()
    found = check(replace(log, received=failed), _ledger(), [replace(first, state="failed"), *others])
    assert _problems(found) == {(Problem.WRONG_ENDING, _id(1))}


def test_checker_finds_a_duplicate_when_one_job_became_two_operations() -> None:
    """A repeated start under the same id attaches."""
    log = _log()
    twice = replace(log, acknowledged=(*log.acknowledged, Acknowledged(number=1, operation_id=_id(2))))
    found = _problems(check(twice, _ledger(), _stored()))
    assert {(Problem.DUPLICATED, _id(1)), (Problem.DUPLICATED, _id(2))} <= found


def test_checker_finds_a_stranger_when_nobody_started_an_operation() -> None:
    """What a crash left half done is taken up: in the end all of it was acknowledged."""
    stranger = replace(_stored()[0], operation_id="op-stranger")
    assert _problems(check(_log(), _ledger(), [*_stored(), stranger])) == {(Problem.UNKNOWN, "op-stranger")}


@pytest.mark.parametrize(("starts", "ends"), [(0, 1), (2, 1), (1, 0), (1, 2)])
def test_checker_finds_a_hole_in_the_audit_log_when_records_are_not_exactly_one(
    starts: int, ends: int
) -> None:
    """One record of the start and one of the end."""
    first, *others = _stored()
    stored = [replace(first, starts=starts, ends=ends), *others]
    assert _problems(check(_log(), _ledger(), stored)) == {(Problem.AUDIT, _id(1))}


def test_watch_finds_a_change_when_a_later_snapshot_tells_of_another_outcome() -> None:
    """An outcome in the store stays what it is."""
    watch = OutcomeWatch()
    first, *others = _stored()
    watch.look([replace(first, state="dispatched", outcome_digest=""), *others])
    watch.look(_stored())
    assert watch.findings == []
    watch.look([replace(first, outcome_digest="another"), *others])
    assert _problems(watch.findings) == {(Problem.CHANGED, _id(1))}


def test_watch_finds_a_loss_when_an_outcome_is_gone() -> None:
    """A crash takes nothing back."""
    watch = OutcomeWatch()
    watch.look(_stored())
    watch.look(_stored()[1:])
    assert _problems(watch.findings) == {(Problem.CHANGED, _id(1))}


def test_journal_keeps_its_lines_when_the_last_one_was_torn(tmp_path: Path) -> None:
    """A process that was killed while it wrote spoils its own line and no other."""
    path = tmp_path / "journal"
    Journal(path).write(number=1)
    with path.open("ab") as file:
        file.write(b'{"number": 2')
    Journal(path).write(number=3)
    assert [line["number"] for line in read_journal(path)] == [1, 3]
