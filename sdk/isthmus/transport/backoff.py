"""How long to wait between attempts: pure, the randomness is the caller's."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential backoff with jitter."""

    initial_seconds: float = 0.1
    maximum_seconds: float = 5.0
    multiplier: float = 2.0
    jitter: float = 0.5
    """Share of each delay that is random, 0 to 1: many clients must not return in step."""

    def delay_seconds(
        self, attempt: int, randomness: float, *, at_least_seconds: float | None = None
    ) -> float:
        """Return the wait before the next attempt.

        Args:
            attempt: failed attempts so far, from 1.
            randomness: uniform in [0, 1).
            at_least_seconds: what the other side asked for; jitter is added on top of it.
        """
        # The exponent is capped: a float overflows long after the maximum is reached.
        grown = self.initial_seconds * self.multiplier ** min(attempt - 1, 64)
        delay = min(grown, self.maximum_seconds) * (1 - self.jitter * randomness)
        if at_least_seconds is None:
            return delay
        return max(delay, at_least_seconds * (1 + 0.1 * self.jitter * randomness))
