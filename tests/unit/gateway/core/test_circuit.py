"""When circuits open, for whom, and what a probe decides."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.contract.samples import NOW, SESSION, key, operation

from isthmus.gateway.core.circuit import (
    EVERYBODY,
    Circuit,
    Line,
    Probe,
    Streaks,
    Verdict,
    count_answer,
    count_failure,
    judge,
    reopened,
)
from isthmus.gateway.core.operation import AttemptEnd, Operation, State, Statement
from isthmus.wire.header import Direction

OPEN_FOR = timedelta(seconds=30)
CIRCUIT = Circuit(
    line=Line(endpoint="e", task_queue="q", caller="a"),
    handler="h",
    since=NOW,
    until=NOW + OPEN_FOR,
    error="UNAVAILABLE",
)
PROBE = Probe(key=key(1), attempt=3)
callers = st.sampled_from("abc")
# Who is answered, or whose attempt fails.
histories = st.lists(st.tuples(callers, st.booleans()), max_size=60)
thresholds = st.integers(min_value=1, max_value=12)


def run(history: list[tuple[str, bool]], failures: int) -> list[tuple[str, ...]]:
    """Return whose circuits opened at each step."""
    streaks, opened = Streaks(), []
    for caller, fails in history:
        if fails:
            streaks, now_open = count_failure(streaks, caller, failures)
            opened.append(now_open)
        else:
            streaks = count_answer(streaks, caller)
            opened.append(())
    return opened


def in_a_row(history: list[tuple[str, bool]], caller: str) -> int:
    """Return how many attempts of a caller failed since its last answer."""
    count = 0
    for name, fails in history:
        if name == caller:
            count = count + 1 if fails else 0
    return count


@given(histories, thresholds)
def test_circuit_of_a_caller_opens_at_each_full_row_and_never_else(
    history: list[tuple[str, bool]], failures: int
) -> None:
    """Exactly when its own failures in a row reach a multiple of the number, whatever others do."""
    for step, opened in enumerate(run(history, failures), 1):
        caller, fails = history[step - 1]
        count = in_a_row(history[:step], caller)
        assert (caller in opened) == (fails and count % failures == 0)


@given(st.lists(st.booleans(), max_size=80), thresholds)
def test_everybody_goes_on_when_only_one_caller_fails(fails: list[bool], failures: int) -> None:
    """One caller's poison never stops the others."""
    opened = run([("a", failed) for failed in fails], failures)
    assert all(EVERYBODY not in step for step in opened)


@given(histories, thresholds)
def test_circuit_of_everybody_opens_only_in_a_row_of_several(
    history: list[tuple[str, bool]], failures: int
) -> None:
    """Since anybody was answered, at least so many attempts failed, of at least two callers."""
    since_answer: list[str] = []
    for (caller, fails), opened in zip(history, run(history, failures), strict=True):
        since_answer = [*since_answer, caller] if fails else []
        if EVERYBODY in opened:
            assert len(since_answer) >= failures
            assert len(set(since_answer)) > 1
            since_answer = []


@pytest.mark.parametrize("failures", [2, 10])
def test_circuit_of_everybody_opens_when_two_callers_fail_by_turns(failures: int) -> None:
    """A handler that is down for all of them is asked no further by any."""
    opened = run([("ab"[turn % 2], True) for turn in range(failures)], failures)
    assert [step for step, names in enumerate(opened, 1) if EVERYBODY in names] == [failures]


@given(histories, thresholds)
def test_nothing_is_remembered_when_everybody_was_answered(
    history: list[tuple[str, bool]], failures: int
) -> None:
    """Memory is bounded by what failed last."""
    streaks = Streaks()
    for caller, fails in history:
        streaks = count_failure(streaks, caller, failures)[0] if fails else count_answer(streaks, caller)
    for caller in "abc":
        streaks = count_answer(streaks, caller)
    assert not streaks


def test_one_probe_goes_out_when_the_time_is_over() -> None:
    """Not before, and no second one while it is on its way."""
    assert not CIRCUIT.takes_probe(CIRCUIT.until - timedelta(microseconds=1))
    assert CIRCUIT.takes_probe(CIRCUIT.until)
    assert not replace(CIRCUIT, probe=PROBE).takes_probe(CIRCUIT.until + timedelta(days=1))


def test_circuit_stays_open_for_as_long_again_when_its_probe_failed() -> None:
    """From the failure on; the last failure is what it tells."""
    later = NOW + timedelta(minutes=3)
    again = reopened(replace(CIRCUIT, probe=PROBE), "INTERNAL", OPEN_FOR, later)
    assert again == replace(CIRCUIT, until=later + OPEN_FOR, error="INTERNAL")


def probed(state: State, **changes: object) -> Operation:
    """Return the operation of the probe."""
    return replace(operation(1, attempt=3, state=state), **changes)


@pytest.mark.parametrize(
    ("of_probe", "verdict"),
    [
        (probed(State.DISPATCHED, session_id=SESSION), Verdict.UNDER_WAY),
        (probed(State.SUCCEEDED, outcome=Direction.RESULT), Verdict.ANSWERED),
        (probed(State.FAILED, outcome=Direction.FAILURE), Verdict.ANSWERED),
        (probed(State.CANCELED, outcome=Direction.CANCELED), Verdict.ANSWERED),
        (probed(State.STARTED), Verdict.ANSWERED),
        (probed(State.SCHEDULED), Verdict.UNDECIDED),
        (probed(State.CANCELED, statement=Statement.CANCELED), Verdict.UNDECIDED),
        (probed(State.TIMED_OUT, statement=Statement.TIMED_OUT_SCHEDULE_TO_CLOSE), Verdict.UNDECIDED),
        (probed(State.FAILED, statement=Statement.TERMINATED), Verdict.UNDECIDED),
        (probed(State.SCHEDULED, last_attempt_end=AttemptEnd.FAILED), Verdict.UNDECIDED),
        (probed(State.DISPATCHED, attempt=4, session_id=SESSION), Verdict.UNDECIDED),
        (None, Verdict.UNDECIDED),
    ],
)
def test_verdict_follows_from_the_operation_when_the_probe_did_not_fail(
    of_probe: Operation | None, verdict: Verdict
) -> None:
    """Any answer of the handler closes a circuit; a probe that was taken away decides nothing."""
    assert judge(PROBE, of_probe) is verdict
