"""Who waits for outcome, progress or signals of which operation: in memory, woken after the commit.

A waiter registers first and looks into the store (or starts the operation) then: no ending can fall between
the two. Memory grows with those who wait, never with what is open, and waiting is bounded.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from isthmus.gateway.core.errors import ExhaustedError
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.ports import OperationClosed, ProgressReported, Signal, SignalRecorded

RETRY_AFTER_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiterLimits:
    """How many may wait at the same time."""

    most: int = 200_000
    most_per_principal: int = 20_000


class Waiter(ABC):
    """One wait of a principal for one operation."""

    __slots__ = ("is_counted", "key", "principal")

    def __init__(self, key: OperationKey, principal: str) -> None:
        self.key = key
        self.principal = principal
        self.is_counted = False

    @abstractmethod
    def wake(self, closed: OperationClosed) -> None:
        """The operation has ended. Called once, on the event loop; it may remove the waiter."""

    def progressed(self, reported: ProgressReported) -> None:  # noqa: B027 - most wait for the end only
        """The operation has newer progress."""

    def signaled(self) -> None:  # noqa: B027 - as above
        """The operation has a further signal."""


class FutureWaiter(Waiter):
    """A wait of a coroutine."""

    __slots__ = ("future",)

    def __init__(self, key: OperationKey, principal: str) -> None:
        super().__init__(key, principal)
        self.future: asyncio.Future[OperationClosed] = asyncio.get_running_loop().create_future()

    def wake(self, closed: OperationClosed) -> None:
        """Let the coroutine go on."""
        if not self.future.done():
            self.future.set_result(closed)

    async def closed(self, seconds: float) -> OperationClosed | None:
        """Return how the operation ended, or None when it has not ended within that time."""
        if self.future.done():
            return self.future.result()
        if seconds <= 0:
            return None
        # A bare timer: asyncio.wait_for would add a task or a future to each of many thousand waits.
        timer = self.future.get_loop().call_later(seconds, self.future.cancel)
        try:
            return await self.future
        except asyncio.CancelledError:
            # Either the timer cancelled the future, or somebody cancels this task.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return None
        finally:
            timer.cancel()


class NewsWaiter(Waiter):
    """A wait for something new about an operation, or for its end."""

    __slots__ = ("_woken",)

    def __init__(self, key: OperationKey, principal: str) -> None:
        super().__init__(key, principal)
        self._woken = asyncio.Event()

    def wake(self, closed: OperationClosed) -> None:
        """Let the coroutine go on."""
        del closed
        self._woken.set()

    async def woken(self, seconds: float) -> None:
        """Return when there is something new, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()


class ProgressWaiter(NewsWaiter):
    """A wait for progress above a sequence, or for the end."""

    __slots__ = ("_after",)

    def __init__(self, key: OperationKey, principal: str, *, after: int) -> None:
        super().__init__(key, principal)
        self._after = after

    def progressed(self, reported: ProgressReported) -> None:
        """Let the coroutine go on, if that is news."""
        if reported.sequence > self._after:
            self._woken.set()


class SignalWaiter(NewsWaiter):
    """A wait for a further signal, or for the end."""

    __slots__ = ()

    def signaled(self) -> None:
        """Let the coroutine go on."""
        self._woken.set()


class Waiters:
    """All waits of this process. Lives on the event loop."""

    def __init__(self, limits: WaiterLimits | None = None) -> None:
        self._limits = limits or WaiterLimits()
        self._waiting: dict[OperationKey, set[Waiter]] = {}
        self._per_principal: Counter[str] = Counter()
        self._count = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    def awaited(self) -> Collection[OperationKey]:
        """Return the operations that anybody waits for."""
        return self._waiting.keys()

    def register(self, key: OperationKey, principal: str) -> FutureWaiter:
        """Begin to wait in a coroutine; ``remove`` has to follow.

        Raises:
            ExhaustedError: too many wait already.
        """
        waiter = FutureWaiter(key, principal)
        self.add(waiter)
        return waiter

    def add(self, waiter: Waiter) -> None:
        """Begin to wait; ``remove`` has to follow.

        Raises:
            ExhaustedError: too many wait already.
        """
        of_principal = self._per_principal[waiter.principal]
        if self._count >= self._limits.most or of_principal >= self._limits.most_per_principal:
            raise ExhaustedError(
                "too many calls wait for outcomes",
                reason="TOO_MANY_WAITERS",
                fix="wait for fewer operations at a time",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self._waiting.setdefault(waiter.key, set()).add(waiter)
        self._per_principal[waiter.principal] = of_principal + 1
        self._count += 1
        waiter.is_counted = True

    def remove(self, waiter: Waiter) -> None:
        """End a wait, woken or not. Nothing happens if it never began."""
        if not waiter.is_counted:
            return
        waiter.is_counted = False
        waiters = self._waiting.get(waiter.key)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiting[waiter.key]
        self._count -= 1
        left = self._per_principal[waiter.principal] - 1
        if left:
            self._per_principal[waiter.principal] = left
        else:
            del self._per_principal[waiter.principal]

    def on_signals(self, signals: Sequence[Signal]) -> None:
        """Wake those who wait for what was closed."""
        for signal in signals:
            if type(signal) is OperationClosed:
                for waiter in tuple(self._waiting.get(signal.operation.key, ())):
                    waiter.wake(signal)
            elif type(signal) is ProgressReported:
                for waiter in tuple(self._waiting.get(signal.key, ())):
                    waiter.progressed(signal)
            elif type(signal) is SignalRecorded:
                for waiter in tuple(self._waiting.get(signal.key, ())):
                    waiter.signaled()
