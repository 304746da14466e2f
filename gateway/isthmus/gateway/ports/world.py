"""Clock and chance, injected so that tests decide them."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        ...


class Randomness(Protocol):
    """Draws what must not be predictable or shared."""

    def jitter(self) -> float:
        """Draw from [0, 1)."""
        ...

    def etag(self) -> str:
        """Draw a short unique text."""
        ...
