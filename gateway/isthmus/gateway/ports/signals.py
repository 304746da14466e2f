"""What a commit tells the gateways that serve its store."""

from datetime import datetime

from isthmus.gateway.core.circuit import Circuit, Line
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
    """An operation has its outcome; ``outcome`` is the sealed envelope, None for a gateway statement.

    ``is_answered`` says that the handler just gave it, not that its attempts were used up.
    """

    operation: Operation
    outcome: bytes | None
    is_answered: bool = False


class StartCounted(Value):
    """An operation began where its caller may begin only so many a second."""

    endpoint: str
    caller: str
    per_second: int
    count: int = 1


class HandlerAccepted(Value):
    """A handler took an operation and finishes it later."""

    operation: Operation


class AttemptFailed(Value):
    """An attempt ended without an outcome. ``operation`` is as it is since.

    ``opens_after`` is how many failures in a row open a circuit at its endpoint; 0: none does.
    """

    operation: Operation
    end: AttemptEnd
    error: str
    opens_after: int


class CircuitChanged(Value):
    """A circuit opened, took a probe or, when there is none any more, closed."""

    line: Line
    queue: QueueKey
    circuit: Circuit | None


class SignalRecorded(Value):
    """An operation has a further signal of its caller."""

    key: OperationKey


class ProgressReported(Value):
    """An operation has newer progress."""

    key: OperationKey
    sequence: int


class RegistryChanged(Value):
    """A namespace, an endpoint or a keyset changed: caches of it are stale. Without a name: all are."""

    namespace: str
    endpoint: str = ""


class EventArrived(Value):
    """An event was published for a namespace."""

    reader: str


class AuditAppended(Value):
    """The audit log has new records."""


Signal = (
    TasksReady
    | TaskInterrupted
    | OperationClosed
    | HandlerAccepted
    | AttemptFailed
    | ProgressReported
    | CircuitChanged
    | SignalRecorded
    | RegistryChanged
    | AuditAppended
    | EventArrived
    | StartCounted
)
