"""Says in the log why calls are repeated: whoever waits for them sees nothing else of it."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from isthmus.transport.errors import GatewayError

_LOG: Final = logging.getLogger(__name__)
SAID_FROM_ATTEMPT: Final = 2
"""One failure is the ordinary course of things: an empty token bucket, a gateway that was replaced."""
SAID_AGAIN_SECONDS: Final = 60.0


class Repeating:
    """What one client says about calls that it repeats: each reason once a minute. Thread-safe.

    Args:
        monotonic: seconds.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._said_at: dict[str, float] = {}

    def note(self, error: Exception, *, attempt: int) -> None:
        """Say it, if the gateway refused for now or is not there, and that is not the first time."""
        if attempt < SAID_FROM_ATTEMPT or not isinstance(error, GatewayError) or not error.retryable:
            return
        kind = error.reason or type(error).__name__
        now = self._monotonic()
        with self._lock:
            before = self._said_at.get(kind)
            if before is not None and now - before < SAID_AGAIN_SECONDS:
                return
            self._said_at[kind] = now
        _LOG.warning("calls to the gateway are repeated (attempt %d failed): %s", attempt, error)
