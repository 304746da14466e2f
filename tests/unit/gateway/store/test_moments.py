"""Moments and durations in the database are exact."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from isthmus.gateway.store.moments import (
    duration_to_microseconds,
    from_microseconds,
    optional_from_microseconds,
    optional_to_microseconds,
    to_microseconds,
)


@given(moment=st.datetimes(timezones=st.just(UTC)))
def test_moment_is_equal_when_it_comes_back(moment: datetime) -> None:
    """Every microsecond that Python has, before the epoch too."""
    assert from_microseconds(to_microseconds(moment)) == moment
    assert from_microseconds(to_microseconds(moment)).tzinfo is UTC


@given(earlier=st.datetimes(timezones=st.just(UTC)), later=st.datetimes(timezones=st.just(UTC)))
def test_numbers_are_ordered_when_moments_are(earlier: datetime, later: datetime) -> None:
    """The database compares numbers, and means moments."""
    assert (earlier < later) == (to_microseconds(earlier) < to_microseconds(later))


@given(duration=st.timedeltas())
def test_duration_is_equal_when_it_comes_back(duration: timedelta) -> None:
    """Negative ones too."""
    assert timedelta(microseconds=duration_to_microseconds(duration)) == duration


def test_moment_is_the_same_when_it_has_another_zone() -> None:
    """What is stored is the moment, not how a clock showed it."""
    zone = timezone(timedelta(hours=5, minutes=30))
    assert to_microseconds(datetime(1970, 1, 1, 5, 30, tzinfo=zone)) == 0


def test_nothing_stays_nothing_when_a_moment_is_missing() -> None:
    """None is NULL."""
    assert optional_to_microseconds(None) is None
    assert optional_from_microseconds(None) is None
