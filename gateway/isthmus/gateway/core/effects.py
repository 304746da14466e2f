"""What must be committed together with a step of an operation. Plain data; ``commands`` write it down."""

from datetime import datetime

from isthmus.gateway.core.value import Value


class EnqueueTask(Value):
    """A start task waits in the queue, to go out at ready_at or later."""

    ready_at: datetime


class EnqueueCancelTask(Value):
    """A cancel task waits in the queue: the handler's cancel is to be called."""


class EnqueueSignalTask(Value):
    """Signals from this number on are to be handed to the handler, one after the other."""

    number: int


class LeaseTask(Value):
    """The start task belongs to the session."""

    session_id: bytes


class RemoveTasks(Value):
    """No task of the operation is wanted any more."""


class InterruptTask(Value):
    """The session should stop running this attempt."""

    session_id: bytes
    attempt: int


class CloseOperation(Value):
    """The operation has its outcome: waiters wake. ``reason`` is why somebody ended it by force."""

    reason: str = ""


Effect = (
    EnqueueTask
    | EnqueueCancelTask
    | EnqueueSignalTask
    | LeaseTask
    | RemoveTasks
    | InterruptTask
    | CloseOperation
)
Effects = tuple[Effect, ...]
