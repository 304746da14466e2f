"""Who waits for the outcome of which operation: futures in memory, woken after the commit that closes it.

A waiter registers first and looks into the store (or starts the operation) then: no ending can fall between
the two. Memory grows with those who wait, never with what is open, and waiting is bounded.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.gateway.core.errors import ExhaustedError
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.ports import OperationClosed, Signal

RETRY_AFTER_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiterLimits:
    """How many may wait at the same time."""

    most: int = 200_000
    most_per_principal: int = 20_000


class Waiter:
    """One wait for one operation."""

    __slots__ = ("future", "key", "principal")

    def __init__(self, key: OperationKey, principal: str, future: "asyncio.Future[OperationClosed]") -> None:
        self.key = key
        self.principal = principal
        self.future = future

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

    def register(self, key: OperationKey, principal: str) -> Waiter:
        """Begin to wait; ``remove`` has to follow.

        Raises:
            ExhaustedError: too many wait already.
        """
        full = self._count >= self._limits.most
        if full or self._per_principal[principal] >= self._limits.most_per_principal:
            raise ExhaustedError(
                "too many calls wait for outcomes",
                reason="TOO_MANY_WAITERS",
                fix="wait for fewer operations at a time",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        waiter = Waiter(key, principal, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(key, set()).add(waiter)
        self._per_principal[principal] += 1
        self._count += 1
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """End a wait, woken or not."""
        waiters = self._waiting.get(waiter.key)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiting[waiter.key]
        self._count -= 1
        self._per_principal[waiter.principal] -= 1
        if not self._per_principal[waiter.principal]:
            del self._per_principal[waiter.principal]

    def on_signals(self, signals: Sequence[Signal]) -> None:
        """Wake those who wait for what was closed."""
        for signal in signals:
            if type(signal) is OperationClosed:
                for waiter in self._waiting.get(signal.operation.key, ()):
                    if not waiter.future.done():
                        waiter.future.set_result(signal)
