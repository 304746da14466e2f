"""How old what a process knows of keys may be: everything follows from the cache lifetime."""

from dataclasses import dataclass

MOST_CACHE_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTimings:
    """When a process asks again for what others, or its own team, may have changed.

    Raises:
        ValueError: the lifetime is none, or longer than what revocations and rotations count on.
    """

    cache_seconds: float = MOST_CACHE_SECONDS
    """For so long a keyset of another namespace is used before it is fetched again. Never longer than the
    default: whoever revokes a key counts on it."""

    def __post_init__(self) -> None:
        """Check the lifetime."""
        if not 0 < self.cache_seconds <= MOST_CACHE_SECONDS:
            raise ValueError(f"keysets are kept for up to {MOST_CACHE_SECONDS:g} s")

    @property
    def refresh_interval_seconds(self) -> float:
        """A keyset is fetched before its time at most this often, however many unknown keys come along."""
        return self.cache_seconds / 10

    @property
    def own_interval_seconds(self) -> float:
        """One's own keyset is looked at before its time at most this often, whatever is refused."""
        return min(1.0, self.refresh_interval_seconds)

    @property
    def look_seconds(self) -> float:
        """One's own keyset at the gateway is looked at this often."""
        return self.cache_seconds

    @property
    def keyring_seconds(self) -> float:
        """Whether the keyring was replaced is looked at this often: the status of a file."""
        return self.cache_seconds / 60
