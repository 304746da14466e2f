"""Refused credentials, counted."""

from datetime import UTC, datetime, timedelta

from isthmus.gateway.authn.failed_attempts import FailedAttempts
from isthmus.gateway.core.audit_record import AuthenticationFailed

NOW = datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_attempts_are_one_record_when_source_reason_and_second_are_the_same() -> None:
    """A flood from one place is one record a second."""
    failed = FailedAttempts()
    for _ in range(10_000):
        failed.note(source="10.0.0.7", reason="TOKEN_EXPIRED", now=NOW)
    assert failed.take(NOW + SECOND) == [
        (
            NOW.replace(microsecond=0),
            AuthenticationFailed(reason="token_expired", source="10.0.0.7", count=10_000),
        )
    ]


def test_attempts_stay_when_their_second_is_not_over() -> None:
    """A second is recorded once, when nothing can be added to it any more; at the end, everything is."""
    failed = FailedAttempts()
    failed.note(source="10.0.0.7", reason="TOKEN_EXPIRED", now=NOW)
    assert failed.take(NOW) == []
    assert len(failed.take(NOW, all_of_them=True)) == 1
    assert failed.take(NOW + SECOND) == []


def test_attempts_are_counted_together_when_there_are_too_many_sources() -> None:
    """Memory and disk stay bounded when somebody comes from everywhere; no attempt is lost."""
    failed = FailedAttempts()
    for number in range(10_000):
        failed.note(source=f"2001:db8::{number:x}", reason="TOKEN_EXPIRED", now=NOW)
    taken = [failure for _, failure in failed.take(NOW + SECOND)]
    assert len(taken) <= 257
    assert sum(failure.count for failure in taken) == 10_000
    assert any(failure.source == "elsewhere" for failure in taken)
