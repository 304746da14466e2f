"""Whether commits fail, and what the log says of it: little, however many commands are refused."""

import logging
import time
from collections.abc import Callable

PAUSE_SECONDS = 10.0
_logger = logging.getLogger(__name__)


class CommitTrouble:
    """Traces the first failure, then counts: one line in ten seconds at most, and one when it is over.

    Told on the writer thread; ``lasts`` may be read on any.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._said_at: float | None = None
        self._unsaid_commits = 0
        self._unsaid_commands = 0
        self._is_said = False
        self.lasts = False

    def failed(self, error: BaseException, commands: int) -> None:
        """A commit failed, and so many commands with it. Call this while the error is handled."""
        is_first = not self.lasts
        self.lasts = True
        self._unsaid_commits += 1
        self._unsaid_commands += commands
        now = self._monotonic()
        if self._said_at is not None and now - self._said_at < PAUSE_SECONDS:
            return
        # The cause in the line itself: who reads it at night may see no trace.
        _logger.error(
            "the store cannot commit (%s); %d commits failed, %d commands are refused",
            error,
            self._unsaid_commits,
            self._unsaid_commands,
            exc_info=is_first,
        )
        self._said_at, self._is_said = now, True
        self._unsaid_commits = self._unsaid_commands = 0

    def succeeded(self) -> None:
        """Something was written and committed."""
        if not self.lasts:
            return
        self.lasts = False
        # A nearly full disk takes one commit and fails the next: what was not said is not over either.
        if self._is_said:
            _logger.warning("the store commits again")
        self._is_said = False
