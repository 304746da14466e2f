"""Wakes those who wait for news of a namespace's feed, when a commit brought some."""

import asyncio
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from isthmus.gateway.core.errors import ExhaustedError, UnavailableError
from isthmus.gateway.ports import EventArrived, OperationClosed, Signal

MAX_READERS = 4096
MAX_READERS_OF_NAMESPACE = 256


class FeedWatch:
    """Who waits for which namespace's feed, in this process. Lives on the event loop.

    Readers of a namespace share one future, so news cost the same for one and for all; an operation whose
    caller has no reader costs one look into a dictionary that is empty as a rule.
    """

    def __init__(self) -> None:
        self._changes: dict[str, asyncio.Future[None]] = {}
        self._readers: Counter[str] = Counter()
        self.is_closed = False

    def on_signals(self, signals: Sequence[Signal]) -> None:
        """Wake the readers of namespaces that have news."""
        if not self._changes:
            return
        for signal in signals:
            if type(signal) is OperationClosed:
                self._wake(signal.operation.key.caller)
            elif type(signal) is EventArrived:
                self._wake(signal.reader)

    def close(self) -> None:
        """Let every reader go: the gateway drains."""
        self.is_closed = True
        for namespace in tuple(self._changes):
            self._wake(namespace)

    def news(self, namespace: str) -> "asyncio.Future[None]":
        """Return a future that is done once news are committed after this call; nobody may cancel it."""
        change = self._changes.get(namespace)
        if change is None:
            change = self._changes[namespace] = asyncio.get_running_loop().create_future()
        return change

    @contextmanager
    def reading(self, namespace: str) -> Generator[None]:
        """Count a reader for as long as it reads.

        Raises:
            ExhaustedError: there are too many.
            UnavailableError: the gateway drains.
        """
        if self.is_closed:
            raise UnavailableError("the gateway is stopping", reason="DRAINING", retry_after_seconds=1.0)
        of_namespace = self._readers[namespace]
        if of_namespace >= MAX_READERS_OF_NAMESPACE or self._readers.total() >= MAX_READERS:
            raise ExhaustedError(
                "too many clients read feeds already",
                reason="TOO_MANY_READERS",
                fix="read a cursor in one place, and share what it says",
                retry_after_seconds=10.0,
            )
        self._readers[namespace] = of_namespace + 1
        try:
            yield
        finally:
            self._readers[namespace] -= 1
            if not self._readers[namespace]:
                del self._readers[namespace]
                # The last one switches off the light: nobody would wait for this future.
                self._changes.pop(namespace, None)

    def _wake(self, namespace: str) -> None:
        change = self._changes.pop(namespace, None)
        if change is not None and not change.done():
            change.set_result(None)
