"""What a commit tells the gateways that serve its store."""

from datetime import datetime

from isthmus.gateway.core.operation import AttemptEnd, Operation, OperationKey
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports.values import QueueKey


class TasksReady(Value):
    """A queue has a task that may go out at ready_at."""

    queue: QueueKey
    ready_at: datetime


class TaskInterrupted(Value):
    """A session should stop running an attempt; cancel is the caller's signed cancel, if that is why."""

    session_id: bytes
    key: OperationKey
    attempt: int
    cancel: bytes | None


class OperationClosed(Value):
    """An operation has its outcome; ``outcome`` is the sealed envelope, None for a gateway statement."""

    operation: Operation
    outcome: bytes | None


class AttemptFailed(Value):
    """An attempt ended without an outcome. ``operation`` is as it is since."""

    operation: Operation
    end: AttemptEnd


class ProgressReported(Value):
    """An operation has newer progress."""

    key: OperationKey
    sequence: int


class RegistryChanged(Value):
    """A namespace, an endpoint or a keyset changed: caches of it are stale."""

    namespace: str
    endpoint: str = ""


class AuditAppended(Value):
    """The audit log has new records."""


Signal = (
    TasksReady
    | TaskInterrupted
    | OperationClosed
    | AttemptFailed
    | ProgressReported
    | RegistryChanged
    | AuditAppended
)
