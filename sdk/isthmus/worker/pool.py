"""The tasks that run in this process: taken in, run once each, interrupted, counted."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from isthmus.envelope.errors import EnvelopeRejectedError
from isthmus.v1 import worker_service_pb2
from isthmus.wire.names import format_operation_id
from isthmus.worker.answer import Answer, rejected, returned
from isthmus.worker.outbox import Outbox
from isthmus.worker.tasks import RunningTask, Stop, TaskKey, key_of

logger = logging.getLogger("isthmus.worker")

# Tasks that run back to back before the event loop may write and read: the first outcomes of a large frame
# leave while its last tasks still run. Fewer make smaller frames and commits, which cost the gateway more;
# more leave caller and gateway idle meanwhile (docs/performance.md has the figures). Large messages take long
# to open and seal, hence the bound in bytes.
STARTED_AT_ONCE = 32
STARTED_BYTES_AT_ONCE = 256 * 1024


class TaskRunner(Protocol):
    """Does the work of a task."""

    def run(self, running: RunningTask) -> Coroutine[Any, Any, Answer | None]:
        """Return the answer, or None when there is nobody left who wants one."""
        ...

    async def interrupt(self, running: RunningTask, cancel: bytes) -> None:
        """Stop a task if the caller's sealed cancel is genuine."""
        ...


class TaskPool:
    """Runs tasks on the worker's event loop, each operation at most once at a time."""

    def __init__(self, *, runner: TaskRunner, outbox: Outbox, freed: Callable[[], None]) -> None:
        """Call ``freed`` whenever a task has ended."""
        self._runner = runner
        self._outbox = outbox
        self._freed = freed
        self._running: dict[TaskKey, RunningTask] = {}
        self._waiting: deque[RunningTask] = deque()
        self._helpers: set[asyncio.Task[None]] = set()
        self._returning = False
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        """How many tasks this process works on."""
        return len(self._running)

    def refs(self, *, began_before: float) -> list[worker_service_pb2.TaskRef]:
        """Return the tasks that have run since before a moment and that nobody took away."""
        return [
            running.ref()
            for running in self._running.values()
            if running.began < began_before and not running.was_taken_away()
        ]

    def accept(self, tasks: Iterable[worker_service_pb2.Task]) -> None:
        """Take tasks in; what runs or has an outcome already is not run again."""
        idle = not self._waiting
        for task in tasks:
            key = key_of(task)
            known = self._running.get(key)
            if known is not None and known.stop is Stop.LOST:
                # Taken away and given back before it could stop: it runs again when it has stopped.
                known.redelivered = task
            elif known is not None:
                known.attempt = max(known.attempt, task.attempt)
            elif not self._outbox.answer_again(key, task.attempt):
                running = RunningTask(task, key)
                if self._returning:
                    self._return(running)
                    continue
                self._running[key] = running
                self._waiting.append(running)
        if self._waiting:
            self._idle.clear()
            if idle:
                self._start_some()

    def interrupt(self, interrupts: Iterable[worker_service_pb2.TaskInterrupt]) -> None:
        """Stop tasks: with a cancel, once that is verified; without one, because they were lost."""
        for interrupt in interrupts:
            running = self._running.get(key_of(interrupt.task))
            if running is None or interrupt.task.attempt < running.attempt:
                continue
            if not interrupt.cancel:
                running.interrupt(Stop.LOST)
            elif running.opened is None:
                running.interrupts.append(interrupt.cancel)
            else:
                helper = asyncio.create_task(self._runner.interrupt(running, interrupt.cancel))
                self._helpers.add(helper)
                helper.add_done_callback(self._helpers.discard)

    def return_tasks(self) -> None:
        """Give back what arrives from now on, and what has not begun to run."""
        self._returning = True
        while self._waiting:
            running = self._waiting.popleft()
            del self._running[running.key]
            self._return(running)
        self._note_idle()

    def stop_all(self) -> None:
        """Interrupt every task because the worker shuts down, and give them back."""
        self.return_tasks()
        for running in self._running.values():
            if not running.was_taken_away():
                # Given back before it has stopped: a thread may take its time. Its answer is dropped.
                running.interrupt(Stop.SHUTDOWN)
                self._return(running)

    async def idle(self) -> None:
        """Return when no task runs."""
        await self._idle.wait()

    def _start_some(self) -> None:
        request_bytes = 0
        loop = asyncio.get_running_loop()
        for _ in range(min(STARTED_AT_ONCE, len(self._waiting))):
            running = self._waiting.popleft()
            running.job = loop.create_task(self._run(running))
            request_bytes += len(running.task.request)
            if request_bytes >= STARTED_BYTES_AT_ONCE:
                break
        if self._waiting:
            loop.call_soon(self._start_some)

    async def _run(self, running: RunningTask) -> None:
        answer: Answer | None
        try:
            answer = await self._runner.run(running)
        except Exception:
            logger.exception(
                "the task of %s could not be answered; the gateway delivers it again. Please report this",
                format_operation_id(running.task.operation_id),
            )
            # The lease is the session's: without an answer the task would stay here while the worker lives.
            answer = rejected(running.outcome(), EnvelopeRejectedError.code)
        except asyncio.CancelledError:
            answer = None
        del self._running[running.key]
        if running.was_taken_away():
            answer = None
        if answer is not None:
            self._outbox.put(running.key, answer)
        if running.redelivered is not None:
            self.accept([running.redelivered])
        self._note_idle()
        self._freed()

    def _return(self, running: RunningTask) -> None:
        self._outbox.put(running.key, returned(running.outcome()))

    def _note_idle(self) -> None:
        if not self._running:
            self._idle.set()
