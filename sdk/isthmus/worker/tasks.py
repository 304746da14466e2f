"""A task in this process: what names it, and what happens to it while it runs."""

import asyncio
import threading
import time
from enum import Enum, unique
from typing import NamedTuple

from isthmus.envelope.open import Opened
from isthmus.v1 import worker_service_pb2
from isthmus.worker.cancellation import TaskCancellation
from isthmus.worker.signals import SignalInbox


class TaskKey(NamedTuple):
    """What names a task across its attempts."""

    caller_namespace: str
    operation_id: bytes
    kind: int


@unique
class Stop(Enum):
    """Why a running task was stopped from outside."""

    CANCELED = "the caller canceled the operation"
    LOST = "the gateway took the task away from this worker"
    SHUTDOWN = "the worker shuts down"


def key_of(task: worker_service_pb2.Task | worker_service_pb2.TaskRef) -> TaskKey:
    """Return what names the task."""
    return TaskKey(task.caller_namespace, task.operation_id, task.kind)


_OPENING = threading.Lock()


class RunningTask:
    """One task that this process works on. Changed on the worker's event loop only."""

    __slots__ = (
        "attempt",
        "began",
        "cancellation",
        "in_handler",
        "inbox",
        "interrupts",
        "job",
        "key",
        "opened",
        "over",
        "redelivered",
        "stop",
        "task",
    )

    def __init__(self, task: worker_service_pb2.Task, key: TaskKey) -> None:
        self.task = task
        self.key = key
        # The newest attempt that was delivered: a redelivery renames the task, it does not run it again.
        self.attempt = task.attempt
        # Of the monotonic clock, seconds.
        self.began = time.monotonic()
        self.cancellation = TaskCancellation()
        self.job: asyncio.Task[None] | None = None
        self.opened: Opened | None = None
        # True while cancelling the job interrupts the handler, and nothing else.
        self.in_handler = False
        # Cancels that arrived before the request was opened: they are verified against it.
        self.interrupts: list[bytes] = []
        # Of a handler that asked for it: what its caller signals.
        self.inbox: SignalInbox | None = None
        self.over = False
        self.stop: Stop | None = None
        # The task, when it was delivered again while this delivery of it was being stopped.
        self.redelivered: worker_service_pb2.Task | None = None

    def was_taken_away(self) -> bool:
        """Whether nobody waits for an outcome of this process any more."""
        return self.stop is Stop.LOST or self.stop is Stop.SHUTDOWN

    def ref(self) -> worker_service_pb2.TaskRef:
        """Return what the gateway calls it."""
        ref = worker_service_pb2.TaskRef()
        self._name(ref)
        return ref

    def outcome(self) -> worker_service_pb2.TaskOutcome:
        """Return an outcome of this task, in which only what came of it is missing."""
        outcome = worker_service_pb2.TaskOutcome()
        self._name(outcome.task)
        return outcome

    def _name(self, ref: worker_service_pb2.TaskRef) -> None:
        # Twice as fast as the constructor's keywords, and nothing is copied.
        ref.caller_namespace = self.key.caller_namespace
        ref.operation_id = self.key.operation_id
        ref.attempt = self.attempt
        ref.kind = self.task.kind

    def open_inbox(self) -> SignalInbox:
        """Return what the caller's signals go into; it is closed when the task stops or is over.

        Most handlers take no signals, so it is made for the first who asks, from whatever thread.
        """
        with _OPENING:
            if self.inbox is None:
                self.inbox = SignalInbox()
        # Behind the assignment: whoever stops or ends the task meanwhile finds it, or is found here.
        if self.stop is not None or self.over:
            self.inbox.close()
        return self.inbox

    def interrupt(self, stop: Stop) -> None:
        """Tell the handler to stop: a coroutine is canceled, a thread finds its cancellation set.

        Before the handler runs, and after it has answered, there is nothing to interrupt: then only the
        reason is kept.
        """
        if self.stop is None or stop is not Stop.CANCELED:
            self.stop = stop
        self.cancellation.cancel(stop.value)
        if self.inbox is not None:
            self.inbox.close()
        if self.in_handler and self.job is not None:
            self.job.cancel()
