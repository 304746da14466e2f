"""Times and durations as people type them."""

from datetime import UTC, datetime, timedelta

import pytest

from isthmus.cli.exit_code import CliError
from isthmus.cli.moment import format_duration, parse_duration, parse_moment

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1h30m", 5400), ("7d", 604_800), ("250ms", 0.25), ("5", 5), ("1.5h", 5400), ("0", 0)],
)
def test_duration_is_read_when_it_is_one(text: str, seconds: float) -> None:
    """Numbers with units, added up; a bare number is seconds."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "1x", "h", "-5s", "1h 30m", "1h,30m", "nan", "9" * 400 + "d"])
def test_duration_is_refused_when_it_is_none(text: str) -> None:
    """The error shows how to write one."""
    with pytest.raises(CliError, match="30s, 15m, 1h or 7d"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["7d", "36h", "90m", "61s", "250ms"])
def test_duration_reads_as_it_was_written_when_it_is_shown(text: str) -> None:
    """In one unit, the largest that has no remainder."""
    assert format_duration(parse_duration(text) // timedelta(milliseconds=1)) == text


def test_moment_is_before_now_when_it_is_a_duration() -> None:
    """--since 1h means an hour ago."""
    assert parse_moment("1h", now=NOW) == NOW - timedelta(hours=1)


def test_moment_is_utc_when_it_names_no_zone() -> None:
    """ISO 8601, with or without an offset."""
    assert parse_moment("2026-11-22T10:00", now=NOW) == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert parse_moment("2026-11-22T10:00+02:00", now=NOW) == datetime(2026, 11, 22, 8, tzinfo=UTC)


def test_moment_is_refused_when_it_is_neither() -> None:
    """The error shows both forms."""
    with pytest.raises(CliError, match=r"1h \(an hour ago\) or"):
        parse_moment("yesterday", now=NOW)
