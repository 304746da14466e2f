"""Times: as people type them (``90s``, ``1h``, ``2026-11-22T10:00``), and in Unix milliseconds."""

import re
import time
from datetime import UTC, datetime, timedelta

from isthmus.cli.exit_code import CliError

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def now_ms() -> int:
    """Return the time in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def moment_of(at_ms: int) -> datetime:
    """Return the moment of Unix milliseconds."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC)


def parse_duration(text: str) -> timedelta:
    """Read ``30s``, ``15m``, ``1h30m``, ``7d``; a bare number is seconds. Raises CliError."""
    stripped = text.strip().lower()
    try:
        if stripped.replace(".", "", 1).isdigit():
            return timedelta(seconds=float(stripped))
        parts = _PART.findall(stripped)
        if parts and "".join(number + unit for number, unit in parts) == stripped:
            return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
    except OverflowError:
        pass
    raise CliError(f"{text!r} is no duration; write for example 30s, 15m, 1h or 7d")


def format_duration(duration_ms: int) -> str:
    """Return a duration as ``parse_duration`` reads it, in the largest unit that has no remainder."""
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(duration_ms, round(_SECONDS[unit] * 1000))
        if count and not rest:
            return f"{count}{unit}"
    return f"{duration_ms}ms"


def parse_moment(text: str, *, now: datetime) -> datetime:
    """Read a duration before ``now``, or an ISO 8601 time (UTC unless it says otherwise). Raises CliError."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            return now - parse_duration(text)
        except (CliError, OverflowError):
            raise CliError(
                f"{text!r} is no time; write for example 1h (an hour ago) or 2026-11-22T10:00"
            ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def parse_later_moment(text: str, *, now: datetime) -> datetime:
    """Read a duration after ``now``, or an ISO 8601 time (UTC unless it says otherwise). Raises CliError."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            return now + parse_duration(text)
        except (CliError, OverflowError):
            raise CliError(
                f"{text!r} is no time; write for example 1h (in an hour) or 2030-05-17T06:00"
            ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
