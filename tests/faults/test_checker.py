"""The checker finds each violation that is planted in a sound history, and nothing else."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.faults.checker import LATEST_US, Problem, check
from tests.faults.kill import checker as kill_checker
from tests.faults.kill.records import Acknowledged, CallerLog, Received, Run, Stored
from tests.faults.records import (
    ENDS,
    GOES_OUT,
    WAITS,
    CallerHistory,
    History,
    Moments,
    QueueEvent,
    Timing,
    Trouble,
)
from tests.faults.signals import Heard, Signaled, SignalProblem
from tests.faults.troubles import healthy_us
from tests.faults.work import SCHEDULE_TO_CLOSE, START_TO_CLOSE, Ending, Way, ending_of, way_of

CALLER = "data-team"
JOBS = range(1, 41)
ENDLESS, HANGING = 7, 11
ANSWERING = {Way.RUN, Way.FOLLOWING}
BEGIN_US = 1_900_000_000_000_000
SECOND_US = 1_000_000
TOLD_MS = 2


def _id(number: int) -> str:
    return f"op-{number}"


def _micros(number: int) -> int:
    timeout = SCHEDULE_TO_CLOSE if way_of(number) is Way.ENDLESS else START_TO_CLOSE
    return round(timeout.total_seconds() * SECOND_US)


def _begin_us(number: int) -> int:
    return BEGIN_US + number * SECOND_US


def _timing(number: int) -> Timing:
    begin, way = _begin_us(number), way_of(number)
    ended_us = begin + 50_000 if way in ANSWERING else begin + _micros(number) + 200_000
    return Timing(
        operation_id=_id(number),
        scheduled_us=begin,
        dispatched_us=begin + 10_000,
        start_to_close_us=_micros(number) if way is Way.HANGING else None,
        schedule_to_close_at_us=begin + (_micros(number) if way is Way.ENDLESS else 86_400 * SECOND_US),
        closed_us=ended_us,
        timeout={
            Way.ENDLESS: "schedule_to_close",
            Way.HANGING: "start_to_close",
            Way.RUN: "",
            Way.FOLLOWING: "",
        }[way],
    )


def _digest(number: int) -> str:
    return "" if ending_of(number) is Ending.TIMED_OUT else f"digest-{number}"


def _caller() -> CallerHistory:
    log = CallerLog(
        intended=tuple(JOBS),
        acknowledged=tuple(Acknowledged(number=n, operation_id=_id(n)) for n in JOBS),
        received=tuple(
            Received(number=n, operation_id=_id(n), ending=ending_of(n), digest=_digest(n)) for n in JOBS
        ),
    )
    stored = tuple(
        Stored(operation_id=_id(n), state=ending_of(n), outcome_digest=_digest(n), starts=1, ends=1)
        for n in JOBS
    )
    timings = tuple(map(_timing, JOBS))
    moments = Moments(
        intended_us={n: _begin_us(n) - 1_000 for n in JOBS},
        acknowledged_us={n: _begin_us(n) + TOLD_MS * 1_000 for n in JOBS},
        received_us={n: (timing.closed_us or 0) + 1_000 for n, timing in zip(JOBS, timings, strict=True)},
    )
    return CallerHistory(log=log, moments=moments, stored=stored, timings=timings)


def _queue(*events: tuple[str, str, str]) -> tuple[QueueEvent, ...]:
    return tuple(
        QueueEvent(position=position, caller=caller, operation_id=operation, what=what)
        for position, (caller, operation, what) in enumerate(events, start=1)
    )


RESTART = Trouble(why="killed", begin_us=0, end_us=2 * BEGIN_US, new_rounds=1)
FAIR = _queue(
    ("busy", "b1", WAITS),
    ("busy", "b2", WAITS),
    ("other", "o1", GOES_OUT),
    ("quiet", "q1", WAITS),
    ("busy", "b1", GOES_OUT),
    ("other", "o1", GOES_OUT),
    ("quiet", "q1", GOES_OUT),
    ("busy", "b2", GOES_OUT),
    ("quiet", "q1", ENDS),
)


def _history(
    caller: CallerHistory | None = None,
    queue: Sequence[QueueEvent] = FAIR,
    troubles: Sequence[Trouble] = (),
) -> History:
    ledger = tuple(
        Run(operation_id=_id(n), number=n, attempt=1, digest=_digest(n))
        for n in JOBS
        if way_of(n) in ANSWERING
    )
    return History(
        callers={CALLER: caller or _caller()},
        ledger=ledger,
        queue=tuple(queue),
        troubles=tuple(troubles),
    )


def _problems(history: History) -> set[tuple[str, str]]:
    return {(finding.problem, finding.operation_id) for finding in check(history)}


def _with_timing(number: int, *, closed_us: int) -> CallerHistory:
    caller = _caller()
    timings = tuple(
        replace(timing, closed_us=closed_us) if timing.operation_id == _id(number) else timing
        for timing in caller.timings
    )
    return replace(caller, timings=timings)


def test_checker_finds_nothing_when_all_is_well() -> None:
    """Successes, failures, and timeouts of both kinds that fired 200 ms after their time."""
    assert {ending_of(n) for n in JOBS} == set(Ending)
    assert check(_history()) == []


def test_checker_finds_a_loss_when_the_store_forgot_an_operation() -> None:
    """What the checker of the kill test finds is found here, too."""
    caller = _caller()
    forgetful = replace(caller, stored=caller.stored[1:])
    assert _problems(_history(forgetful)) == {(kill_checker.Problem.LOST, _id(1))}


def test_checker_finds_a_stuck_operation_when_it_did_not_time_out() -> None:
    """An operation that nobody finishes has to end by its timeout."""
    caller = _caller()
    stored = tuple(
        replace(entry, state="started", ends=0) if entry.operation_id == _id(ENDLESS) else entry
        for entry in caller.stored
    )
    assert (kill_checker.Problem.OPEN, _id(ENDLESS)) in _problems(_history(replace(caller, stored=stored)))


def test_checker_finds_a_wrong_ending_when_a_timeout_hit_an_operation_without_one() -> None:
    """Or when a lost ending of a handler was replaced by a timeout."""
    caller = _caller()
    number = next(n for n in JOBS if ending_of(n) is Ending.SUCCEEDED)
    received = tuple(
        replace(entry, ending="timed_out", digest="") if entry.number == number else entry
        for entry in caller.log.received
    )
    found = _problems(_history(replace(caller, log=replace(caller.log, received=received))))
    assert (kill_checker.Problem.WRONG_ENDING, _id(number)) in found


@pytest.mark.parametrize("number", [ENDLESS, HANGING])
def test_checker_finds_an_early_timeout_when_the_gateway_says_so(number: int) -> None:
    """By the clock of the gateway itself, a microsecond is enough."""
    timing = _timing(number)
    due = (
        timing.schedule_to_close_at_us if number == ENDLESS else 10_000 + _begin_us(number) + _micros(number)
    )
    assert _problems(_history(_with_timing(number, closed_us=due))) == set()
    assert _problems(_history(_with_timing(number, closed_us=due - 1))) == {(Problem.EARLY, _id(number))}


@pytest.mark.parametrize("number", [ENDLESS, HANGING])
def test_checker_finds_an_early_timeout_when_only_the_caller_saw_it(number: int) -> None:
    """A gateway whose clock jumped finds itself on time; its caller does not."""
    caller = _caller()
    moments = caller.moments
    heard_us = moments.intended_us[number] + _micros(number) - 1
    hasty = replace(moments, received_us={**moments.received_us, number: heard_us})
    assert _problems(_history(replace(caller, moments=hasty))) == {(Problem.EARLY, _id(number))}


@pytest.mark.parametrize("number", [ENDLESS, HANGING])
def test_checker_finds_a_late_timeout_when_nothing_kept_the_gateway_from_it(number: int) -> None:
    """A second is the limit."""
    timing = _timing(number)
    due = (timing.closed_us or 0) - 200_000
    if number == HANGING:
        due += 10_000
    on_time = _with_timing(number, closed_us=due + LATEST_US)
    assert _problems(_history(on_time)) == set()
    late = _with_timing(number, closed_us=due + LATEST_US + 1)
    assert _problems(_history(late)) == {(Problem.LATE, _id(number))}


def test_checker_excuses_a_late_timeout_when_there_was_trouble() -> None:
    """Only the time without trouble counts, and it counts after the trouble, too."""
    due = _timing(ENDLESS).schedule_to_close_at_us
    late = _with_timing(ENDLESS, closed_us=due + 5 * SECOND_US)
    trouble = Trouble(why="killed", begin_us=due - SECOND_US, end_us=due + 4_500_000)
    assert _problems(_history(late, troubles=[trouble])) == set()
    short = replace(trouble, end_us=due + 3_900_000)
    assert _problems(_history(late, troubles=[short])) == {(Problem.LATE, _id(ENDLESS))}


def test_checker_finds_a_late_timeout_when_troubles_left_it_more_than_a_second_in_all() -> None:
    """However short each time in between was."""
    due = _timing(ENDLESS).schedule_to_close_at_us
    stalls = [
        Trouble(why="stall", begin_us=due + n * SECOND_US, end_us=due + n * SECOND_US + 100_000)
        for n in range(3)
    ]
    # 0.9 s after the first stall, and 0.1 s after the second one.
    on_time = _with_timing(ENDLESS, closed_us=due + 1_200_000)
    assert _problems(_history(on_time, troubles=stalls)) == set()
    late = _with_timing(ENDLESS, closed_us=due + 1_200_001)
    assert _problems(_history(late, troubles=stalls)) == {(Problem.LATE, _id(ENDLESS))}


def test_healthy_time_is_added_up_when_troubles_follow_each_other() -> None:
    """Overlapping and unsorted ones included; what is over or not yet begun does not matter."""
    troubles = [
        Trouble(why="c", begin_us=600, end_us=650),
        Trouble(why="b", begin_us=150, end_us=300),
        Trouble(why="a", begin_us=100, end_us=200),
        Trouble(why="before", begin_us=0, end_us=50),
        Trouble(why="after", begin_us=2_000, end_us=3_000),
    ]
    assert healthy_us(80, 700, troubles) == 20 + 300 + 50
    assert healthy_us(80, 1_000, troubles) == 20 + 300 + 350
    assert healthy_us(120, 250, troubles) == 0
    assert healthy_us(20, 620, troubles) == 50 + 300
    assert healthy_us(80, 90, ()) == 10


def test_checker_finds_unfairness_when_another_caller_is_served_twice() -> None:
    """While a quiet caller's only operation waits."""
    unfair = _queue(
        ("busy", "b1", WAITS),
        ("busy", "b2", WAITS),
        ("quiet", "q1", WAITS),
        ("busy", "b1", GOES_OUT),
        ("busy", "b2", GOES_OUT),
        ("quiet", "q1", GOES_OUT),
    )
    assert _problems(_history(queue=unfair)) == {(Problem.UNFAIR, "q1")}
    # After a restart in between, a new round begins.
    assert _problems(_history(queue=unfair, troubles=[RESTART])) == set()


def _beside_first_job(*turns: tuple[int, str, str], out_ms: int = 50) -> History:
    """Return a history of two gateways: who had a turn, when and at which worker, while job 1 waited."""
    begin = _begin_us(1)

    def event(at_ms: int, caller: str, operation_id: str, what: str, session: str = "") -> QueueEvent:
        at_us = begin + at_ms * 1_000
        return QueueEvent(
            position=0, caller=caller, operation_id=operation_id, what=what, at_us=at_us, session=session
        )

    queue = [
        *(event(-1, caller, f"{caller}-{n}", WAITS) for n, (_, caller, _) in enumerate(turns)),
        event(0, CALLER, _id(1), WAITS),
        *(
            event(at_ms, caller, f"{caller}-{n}", GOES_OUT, session)
            for n, (at_ms, caller, session) in enumerate(turns)
        ),
        event(out_ms, CALLER, _id(1), GOES_OUT, "w1"),
    ]
    return replace(_history(queue=queue), gateways=2)


# The last one of the worker that gets job 1: what is on record before it had ended when job 1 was taken.
LAST = (45, "other", "w1")


def test_checker_finds_unfairness_when_another_caller_has_more_turns_than_there_are_gateways() -> None:
    """Each of two gives it one, whichever worker gets what."""
    fair = _beside_first_job((10, "busy", "w1"), (20, "busy", "w2"), (30, "other", "w1"), LAST)
    assert _problems(fair) == set()
    unfair = _beside_first_job((10, "busy", "w1"), (20, "busy", "w2"), (30, "busy", "w1"), LAST)
    assert _problems(unfair) == {(Problem.UNFAIR, _id(1))}
    # A gateway that was restarted meanwhile begins a new round.
    assert _problems(replace(unfair, troubles=(RESTART,))) == set()


def test_checker_finds_unfairness_when_one_lease_serves_another_caller_twice() -> None:
    """Even if that is not more often than there are gateways."""
    twice = _beside_first_job((10, "busy", "w1"), (10, "other", "w1"), (10, "busy", "w1"), LAST)
    assert _problems(twice) == {(Problem.UNFAIR, _id(1))}


def test_checker_lets_leases_pass_when_they_could_not_see_the_operation() -> None:
    """They began before it was there, or had not ended when it was taken, for all that is known."""
    early = _beside_first_job(*((ms, "busy", "w2") for ms in range(TOLD_MS + 1)), LAST)
    under_way = _beside_first_job(LAST, *((40, "busy", "w2"),) * 3)
    late = _beside_first_job(*((ms, "busy", "w2") for ms in (50, 60, 60, 70)))
    last = _beside_first_job(*((40, "busy", "w1"),) * 3)
    assert [_problems(history) for history in (early, under_way, late, last)] == [set()] * 4
    ended = _beside_first_job(*((40, "busy", "w2"),) * 3, (45, "other", "w2"))
    assert _problems(ended) == {(Problem.UNFAIR, _id(1))}


def test_checker_finds_unfairness_when_starts_go_straight_to_workers_for_longer_than_a_second() -> None:
    """Until then their gateway may not know of what waits at the other one; nor while there is trouble."""

    def straight(begin_ms: int) -> History:
        turns = [(begin_ms + ms, "busy", "w2") for ms in range(3)]
        history = _beside_first_job(*turns, out_ms=3_000)
        # What goes straight to a worker never waits.
        queue = [event for event in history.queue if event.caller == CALLER or event.what != WAITS]
        return replace(history, queue=tuple(queue))

    assert _problems(straight(900)) == set()
    assert _problems(straight(1_100)) == {(Problem.UNFAIR, _id(1))}
    begin = _begin_us(1)
    trouble = Trouble(why="hangs", begin_us=begin + 200_000, end_us=begin + 700_000)
    assert _problems(replace(straight(1_100), troubles=(trouble,))) == set()


def test_checker_lets_an_operation_wait_when_its_own_caller_is_served() -> None:
    """Behind its elders of the same caller, which take that caller's turns."""
    own = _queue(
        ("quiet", "q0", WAITS),
        ("quiet", "q1", WAITS),
        ("busy", "b1", GOES_OUT),
        ("quiet", "q0", GOES_OUT),
        ("busy", "b2", GOES_OUT),
        ("quiet", "q1", GOES_OUT),
    )
    assert _problems(_history(queue=own)) == set()


def test_checker_finds_a_missed_signal_when_the_answering_run_did_not_hear_it() -> None:
    """The check of signals is told who answered."""
    number = next(n for n in JOBS if way_of(n) is Way.FOLLOWING)
    signaled = Signaled(operation_id=_id(number), value=0, is_acknowledged=True)
    heard = Heard(operation_id=_id(number), run=_digest(number), session="a", sequence=1, value=0)
    told = _history(replace(_caller(), signaled=(signaled,)))
    assert check(replace(told, heard=(heard,))) == []
    assert _problems(told) == {(SignalProblem.MISSED, _id(number))}
