"""When a failed attempt is repeated: exponential backoff with jitter."""

from datetime import timedelta

from isthmus.gateway.core.value import Value

_JITTER = 0.2


class RetryPolicy(Value):
    """How often and how fast attempts are repeated. ``max_attempts`` 0 means no limit."""

    initial_interval: timedelta = timedelta(seconds=1)
    backoff_coefficient: float = 2.0
    max_interval: timedelta = timedelta(minutes=5)
    max_attempts: int = 0
    park_when_exhausted: bool = True

    def is_exhausted(self, attempts_spent: int) -> bool:
        """Whether no further attempt is allowed after so many."""
        return 0 < self.max_attempts <= attempts_spent

    def delay(self, attempts_spent: int, jitter: float) -> timedelta:
        """Return the wait before the next attempt, up to 20 % shorter than the exponential backoff.

        ``jitter`` is drawn from [0, 1). The exponent is capped before it is used, so that a long-lived
        operation cannot overflow it.
        """
        exponent = min(max(attempts_spent - 1, 0), 64)
        backoff = min(
            self.initial_interval.total_seconds() * self.backoff_coefficient**exponent,
            self.max_interval.total_seconds(),
        )
        return timedelta(seconds=backoff * (1 - _JITTER * jitter))
