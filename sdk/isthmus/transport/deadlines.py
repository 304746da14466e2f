"""One timer for the deadlines of many calls.

Nearly every call ends long before its deadline, and a timer of its own would cost more than its place in a
table: the one timer waits for the earliest deadline it was told of, and whoever it wakes looks who is due.
"""

import asyncio
from collections.abc import Callable


class Deadlines:
    """Wakes its owner at the earliest deadline, or sooner. Bound to one event loop."""

    __slots__ = ("_due", "_timer")

    def __init__(self, due: Callable[[], None]) -> None:
        """Call ``due`` when a deadline may have passed; it adds again what is still to come."""
        self._due = due
        self._timer: asyncio.TimerHandle | None = None

    def add(self, deadline: float) -> None:
        """Wake at a time of the event loop's clock, or sooner."""
        timer = self._timer
        if timer is not None:
            if timer.when() <= deadline:
                return
            timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(deadline, self._wake)

    def clear(self) -> None:
        """Forget all of them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        self._timer = None
        self._due()
