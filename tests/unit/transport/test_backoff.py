"""Backoff: pure arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from isthmus.transport.backoff import Backoff


def test_delay_doubles_when_attempts_fail() -> None:
    """Up to the maximum, without overflow."""
    backoff = Backoff(initial_seconds=1, maximum_seconds=5)
    assert [backoff.delay_seconds(attempt, 0.0) for attempt in (1, 2, 3, 4)] == [1, 2, 4, 5]
    assert backoff.delay_seconds(10**9, 0.0) == 5


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True), st.floats(0, 1000))
def test_delay_is_long_enough_when_other_side_asks(attempt: int, randomness: float, asked: float) -> None:
    """Never earlier than asked, never negative."""
    delay = Backoff().delay_seconds(attempt, randomness, at_least_seconds=asked)
    assert delay >= asked
    assert 0 < Backoff().delay_seconds(attempt, randomness) <= 5
