"""How often something may happen: a token bucket that holds what one second gives, full at first."""

from datetime import datetime, timedelta

from isthmus.gateway.core.value import Value

_SECOND = timedelta(seconds=1)


class TokenBucket(Value):
    """So many tokens were in it at that moment."""

    tokens: float
    at: datetime


def refilled(bucket: TokenBucket | None, per_second: int, now: datetime) -> TokenBucket:
    """Return the bucket as it is now: full if it is new, never fuller than what one second gives.

    A clock that was set back takes nothing away, and the bucket fills from the new time on.
    """
    if bucket is None:
        return TokenBucket(tokens=float(per_second), at=now)
    gained = max(0.0, (now - bucket.at) / _SECOND) * per_second
    return TokenBucket(tokens=min(float(per_second), bucket.tokens + gained), at=now)


def take(bucket: TokenBucket | None, per_second: int, now: datetime) -> tuple[TokenBucket, float]:
    """Take a token; return the bucket, and 0, or the seconds until there is a token if there is none."""
    bucket = refilled(bucket, per_second, now)
    if bucket.tokens < 1:
        return bucket, (1 - bucket.tokens) / per_second
    return TokenBucket(tokens=bucket.tokens - 1, at=now), 0.0


def pay(bucket: TokenBucket | None, per_second: int, count: int, now: datetime) -> TokenBucket:
    """Return the bucket without tokens that were taken elsewhere; it may owe some, which time gives back."""
    bucket = refilled(bucket, per_second, now)
    return TokenBucket(tokens=bucket.tokens - count, at=now)


def put_back(bucket: TokenBucket) -> TokenBucket:
    """Return the bucket with a token that was taken and not used."""
    return TokenBucket(tokens=bucket.tokens + 1, at=bucket.at)
