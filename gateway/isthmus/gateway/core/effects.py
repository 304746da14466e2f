"""What must be committed together with a step of an operation. Plain data; ``commands`` write it down."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueTask:
    """A start task waits in the queue, to go out at ready_at or later."""

    ready_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueCancelTask:
    """A cancel task waits in the queue: the handler's cancel is to be called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTask:
    """The start task belongs to the session."""

    session_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveTasks:
    """No task of the operation is wanted any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptTask:
    """The session should stop running this attempt."""

    session_id: bytes
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseOperation:
    """The operation has its outcome: waiters wake."""


Effect = EnqueueTask | EnqueueCancelTask | LeaseTask | RemoveTasks | InterruptTask | CloseOperation
Effects = tuple[Effect, ...]
