"""The clock of timeouts goes by elapsed time, whatever somebody does to the machine's clock."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.gateway.steady_clock import SteadyClock, elapsed

SECOND = 1_000_000_000
MICROSECOND = timedelta(microseconds=1)
START = datetime(2030, 5, 17, 12, 0, tzinfo=UTC)


class Machine:
    """A machine whose clock can be set."""

    def __init__(self) -> None:
        self.wall = int(START.timestamp()) * SECOND
        self.elapsed = 77 * SECOND
        self.clock = SteadyClock(wall=lambda: self.wall, elapsed=lambda: self.elapsed)

    def pass_time(self, nanoseconds: int) -> None:
        """Let time pass, on both clocks."""
        self.wall += nanoseconds
        self.elapsed += nanoseconds


def test_clock_tells_the_wall_clock_when_nobody_sets_it() -> None:
    """It begins with the machine's clock."""
    machine = Machine()
    machine.pass_time(90 * SECOND)
    assert machine.clock.now() == START + timedelta(seconds=90)


@pytest.mark.parametrize("hours", [-3, 3])
def test_clock_goes_on_by_elapsed_time_when_the_machine_is_set_by_hours(
    hours: int, caplog: pytest.LogCaptureFixture
) -> None:
    """No timeout comes early, and none late; the log says so once."""
    machine = Machine()
    machine.wall += hours * 3600 * SECOND
    with caplog.at_level(logging.WARNING):
        for _ in range(60):
            machine.pass_time(SECOND)
            machine.clock.now()
    assert machine.clock.now() == START + timedelta(seconds=60)
    (record,) = caplog.records
    assert f"{hours * 3600} s off" in record.getMessage()


def test_clock_follows_a_small_difference_when_time_passes() -> None:
    """A millisecond in a second: a timeout is early by a thousandth at most."""
    machine = Machine()
    machine.wall += SECOND // 2
    for _ in range(100):
        machine.pass_time(SECOND)
        machine.clock.now()
    assert machine.clock.now() == START + timedelta(seconds=100, milliseconds=100)
    for _ in range(1000):
        machine.pass_time(SECOND)
        machine.clock.now()
    assert machine.clock.now() == START + timedelta(seconds=1100, milliseconds=500)


@given(
    st.lists(
        st.tuples(st.integers(0, 10 * SECOND), st.integers(-(10**15), 10**15) | st.integers(-SECOND, SECOND))
    )
)
def test_clock_never_runs_back_when_the_machine_is_set(moves: list[tuple[int, int]]) -> None:
    """Nor does it run faster or slower than time by more than a thousandth."""
    machine = Machine()
    before = machine.clock.now()
    for passed, moved in moves:
        machine.pass_time(passed)
        machine.wall += moved
        now = machine.clock.now()
        assert now >= before
        before = now
    passed_in_all = timedelta(microseconds=sum(passed for passed, _ in moves) // 1000)
    assert abs(now_minus_start(before) - passed_in_all) <= passed_in_all / 1000 + MICROSECOND


def now_minus_start(now: datetime) -> timedelta:
    """Return how far the clock came."""
    return now - START


def test_elapsed_grows_when_it_is_asked_again() -> None:
    """It is the machine's own."""
    first = elapsed()
    assert elapsed() >= first
