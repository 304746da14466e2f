"""The check of signals finds each violation that is planted, and nothing else."""

from dataclasses import replace

from tests.faults.signals import Heard, Signaled, SignalProblem, check_signals, read_heard, read_signaled

OPERATION = "op-1"
SENT = tuple(
    Signaled(operation_id=OPERATION, value=value, is_acknowledged=acknowledged)
    for value in range(3)
    for acknowledged in (False, True)
)


def _heard(run: str, session: str, sequence: int, value: int) -> Heard:
    return Heard(operation_id=OPERATION, run=run, session=session, sequence=sequence, value=value)


# The first run was lost; the caller's process was, too, before it knew of the second signal.
HEARD = (
    _heard("first", "a", 1, 0),
    _heard("second", "a", 1, 0),
    _heard("second", "a", 2, 1),
    _heard("second", "b", 1, 1),
    _heard("second", "b", 2, 2),
)
ANSWERED = {OPERATION: "second"}


def _problems(heard: tuple[Heard, ...], sent: tuple[Signaled, ...] = SENT) -> set[SignalProblem]:
    return {problem for problem, _, _ in check_signals(sent, heard, ANSWERED)}


def test_nothing_is_found_when_runs_and_senders_begin_anew() -> None:
    """An attempt reads from the first signal; another process of the caller is another sender."""
    assert _problems(HEARD) == set()


def test_a_missing_signal_is_found_when_only_a_lost_run_heard_it() -> None:
    """And only if it was acknowledged."""
    lost = (*HEARD[:-1], replace(HEARD[-1], run="first", session="c", sequence=1))
    assert _problems(lost) == {SignalProblem.MISSED}
    unacknowledged = tuple(each for each in SENT if each.value != 2 or not each.is_acknowledged)
    assert _problems(lost, unacknowledged) == set()


def test_disorder_is_found_when_signals_are_swapped_repeated_or_left_out() -> None:
    """Within one run and one sender."""
    first, *rest = HEARD
    swapped = (first, rest[1], rest[0], *rest[2:])
    repeated = (first, rest[0], rest[0], *rest[1:])
    left_out = (first, *rest[1:])
    for planted in (swapped, repeated, left_out):
        assert SignalProblem.DISORDER in _problems(planted)


def test_a_changed_signal_is_found_when_another_run_heard_something_else() -> None:
    """The same sender and number are the same signal."""
    assert _problems((replace(HEARD[0], value=1), *HEARD[1:])) == {SignalProblem.CHANGED}


def test_an_invented_signal_is_found_when_nobody_sent_it() -> None:
    """Not even in vain."""
    assert _problems((*HEARD, _heard("second", "b", 3, 9))) == {SignalProblem.INVENTED}


def test_journals_are_read_when_they_hold_other_lines() -> None:
    """Runs of handlers and outcomes are for others."""
    line = {"operation_id": OPERATION, "number": 9, "value": 0}
    assert read_signaled([{"event": "signaling", **line}, {"event": "intended", "number": 9}]) == SENT[:1]
    heard = {"operation_id": OPERATION, "run": "first", "session": "a", "sequence": 1, "value": 0}
    assert read_heard([{"event": "heard", **heard}, {"operation_id": OPERATION, "digest": ""}]) == HEARD[:1]
