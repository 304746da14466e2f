"""How a handler learns that its task should stop, in a coroutine as in a thread."""

import asyncio
import threading

from nexusrpc.handler import OperationTaskCancellation


class TaskCancellation(OperationTaskCancellation):
    """Set once, from the event loop of the worker; read from anywhere.

    Source: ``nexusrpc.handler.OperationTaskCancellation``.
    """

    __slots__ = ("_event", "_lock", "_reason", "_waiters")

    def __init__(self) -> None:
        self._reason: str | None = None
        # Most handlers never wait for their own cancellation: what waiting needs is made when it is needed.
        self._event: threading.Event | None = None
        self._lock = threading.Lock()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def cancel(self, reason: str) -> None:
        """Set it; the first reason stays."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            waiters, self._waiters = self._waiters, []
        if self._event is not None:
            self._event.set()
        for loop, event in waiters:
            # A handler in a thread may run, and by now have closed, a loop of its own.
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def is_cancelled(self) -> bool:
        """Return whether the task should stop."""
        return self._reason is not None

    def cancellation_reason(self) -> str | None:
        """Return why, or None while it should not stop."""
        return self._reason

    def wait_until_cancelled_sync(self, timeout: float | None = None) -> bool:
        """Block for at most ``timeout`` seconds; return whether the task should stop."""
        with self._lock:
            if self._event is None:
                self._event = threading.Event()
            if self._reason is not None:
                return True
        return self._event.wait(timeout)

    async def wait_until_cancelled(self) -> None:
        """Return when the task should stop."""
        event = asyncio.Event()
        with self._lock:
            if self._reason is not None:
                return
            self._waiters.append((asyncio.get_running_loop(), event))
        await event.wait()
