"""What a handler gets back when it reports something: nothing to do, or to wait until that is durable."""

import asyncio
import concurrent.futures
from collections.abc import Callable
from datetime import timedelta


class Reported:
    """A report on its way. Most handlers drop it; ``durable``, or ``wait`` in a thread, is to be sure.

    Waiting sends the report at once, instead of together with what is reported next. When a later report of
    the same task overtakes this one, waiting ends as soon as the later one is durable.
    """

    __slots__ = ("_future", "_hurry")

    def __init__(self, future: "concurrent.futures.Future[None]", hurry: Callable[[], None]) -> None:
        self._future = future
        self._hurry = hurry

    async def durable(self) -> None:
        """Return when the report is durable.

        Raises:
            TaskLostError: the task does not belong to this worker any more.
            ReportRefusedError: the gateway refuses what was reported.
        """
        self._hurry()
        await asyncio.wrap_future(self._future)

    def wait(self, timeout: timedelta | None = None) -> None:
        """Block a handler's thread until the report is durable. Raises as ``durable`` does.

        Raises:
            TimeoutError: the timeout was over first.
        """
        self._hurry()
        self._future.result(None if timeout is None else timeout.total_seconds())
