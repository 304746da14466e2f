"""Runs whatever kind of task arrives."""

from collections.abc import Coroutine
from typing import Any

from isthmus.envelope.errors import EnvelopeRejectedError
from isthmus.v1 import worker_service_pb2
from isthmus.worker.answer import Answer, rejected
from isthmus.worker.cancel_task import CancelTasks
from isthmus.worker.signal_task import SignalTasks
from isthmus.worker.start_task import StartTasks
from isthmus.worker.tasks import RunningTask


class Execution:
    """The runner that a worker's pool uses."""

    def __init__(self, *, starts: StartTasks, cancels: CancelTasks, signals: SignalTasks) -> None:
        self._starts = starts
        self._cancels = cancels
        self._signals = signals

    def run(self, running: RunningTask) -> Coroutine[Any, Any, Answer | None]:
        """Return the answer, or None when there is nobody left who wants one."""
        if running.task.kind == worker_service_pb2.TASK_KIND_CANCEL:
            return self._cancels.run(running)
        if running.task.kind == worker_service_pb2.TASK_KIND_SIGNAL:
            return self._signals.run(running)
        if running.task.kind == worker_service_pb2.TASK_KIND_START:
            return self._starts.run(running)
        return _reject(running)

    async def interrupt(self, running: RunningTask, cancel: bytes) -> None:
        """Stop a task if the caller's sealed cancel is genuine."""
        await self._starts.interrupt(running, cancel)


async def _reject(running: RunningTask) -> Answer:
    """Refuse a kind of task that this release does not know: a newer one may."""
    return rejected(running.outcome(), EnvelopeRejectedError.code)
