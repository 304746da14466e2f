"""Moments and durations as integers of microseconds: exact both ways."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Return microseconds since the Unix epoch of an aware datetime."""
    return (moment - _EPOCH) // _MICROSECOND


def optional_to_microseconds(moment: datetime | None) -> int | None:
    """Return microseconds since the Unix epoch, None for None."""
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the moment, aware and in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def optional_from_microseconds(microseconds: int | None) -> datetime | None:
    """Return the moment, aware and in UTC; None for None."""
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)


def duration_to_microseconds(duration: timedelta) -> int:
    """Return whole microseconds; integers all the way, so nothing is rounded."""
    return duration // _MICROSECOND
