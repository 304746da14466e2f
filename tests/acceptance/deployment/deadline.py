"""Waiting for other processes: look again and again, until it is so or the time is over."""

import time
from collections.abc import Callable

INTERVAL_SECONDS = 0.01


class OverdueError(AssertionError):
    """What was waited for did not come about in time."""


def await_that(condition: Callable[[], bool], what: str, *, seconds: float) -> None:
    """Return once the condition holds. Raises OverdueError, which says what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise OverdueError(f"not within {seconds:g} s: {what}")
        time.sleep(INTERVAL_SECONDS)
