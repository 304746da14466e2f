"""Wakes those who follow the audit log, when a commit of this process appended to it."""

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from isthmus.gateway.core.errors import ExhaustedError, UnavailableError
from isthmus.gateway.ports import AuditAppended, Signal

MAX_FOLLOWERS = 256


class Follower:
    """One who follows the log."""

    def __init__(self, watch: "AuditWatch") -> None:
        self._watch = watch

    @property
    def is_over(self) -> bool:
        """Whether the gateway drains: nothing more will come."""
        return self._watch.is_closed

    def news(self) -> "asyncio.Future[None]":
        """Return a future that is done once something is appended after this call, or the gateway drains."""
        return self._watch.next_change()


class AuditWatch:
    """All followers of this process: they share one future, so news cost the same for one and for all."""

    def __init__(self) -> None:
        self._change: asyncio.Future[None] | None = None
        self._followers = 0
        self.is_closed = False

    def on_signals(self, signals: Sequence[Signal]) -> None:
        """Wake the followers if the log grew."""
        if any(type(signal) is AuditAppended for signal in signals):
            self._wake()

    def close(self) -> None:
        """End every follower."""
        self.is_closed = True
        self._wake()

    def next_change(self) -> "asyncio.Future[None]":
        """Return the future of the next change; shared, so nobody may cancel it."""
        if self._change is None:
            self._change = asyncio.get_running_loop().create_future()
            if self.is_closed:
                self._change.set_result(None)
        return self._change

    @contextmanager
    def follow(self) -> Generator[Follower]:
        """Count a follower for as long as it follows.

        Raises:
            ExhaustedError: there are too many.
            UnavailableError: the gateway drains.
        """
        if self.is_closed:
            raise UnavailableError("the gateway is stopping", reason="DRAINING", retry_after_seconds=1.0)
        if self._followers >= MAX_FOLLOWERS:
            raise ExhaustedError(
                f"{MAX_FOLLOWERS} clients follow the audit log already",
                reason="TOO_MANY_FOLLOWERS",
                fix="Query pages instead.",
                retry_after_seconds=10.0,
            )
        self._followers += 1
        try:
            yield Follower(self)
        finally:
            self._followers -= 1

    def _wake(self) -> None:
        change, self._change = self._change, None
        if change is not None and not change.done():
            change.set_result(None)
