"""What the audit log records, as plain values.

Every change is described by exactly one record, committed in the same transaction. Encoding to the stored
bytes happens in ``isthmus.gateway.audit``; here is only what there is to say.
"""

from datetime import datetime

from isthmus.gateway.core.operation import Operation, OperationKey, State, Statement
from isthmus.gateway.core.value import Value


class Actor(Value):
    """Who did it: an authenticated principal, or the gateway itself (both fields empty)."""

    namespace: str = ""
    principal: str = ""


GATEWAY = Actor()


class OperationRef(Value):
    """The operation that a record is about."""

    key: OperationKey
    handler: str
    endpoint: str
    service: str
    operation: str


def ref(operation: Operation) -> OperationRef:
    """Return the reference of an operation."""
    return OperationRef(
        key=operation.key,
        handler=operation.handler,
        endpoint=operation.endpoint,
        service=operation.service,
        operation=operation.operation,
    )


class OperationStarted(Value):
    """A start was accepted; its task went to the session of this worker at once, if there is one."""

    operation: OperationRef
    request_digest: bytes
    request_bytes: int
    rule: str
    labels: tuple[tuple[str, str], ...] = ()
    session_id: bytes = b""
    worker: str = ""


class RequestDenied(Value):
    """Somebody was refused."""

    action: str
    rule: str
    endpoint: str = ""
    handler: str = ""
    service: str = ""
    operation: str = ""
    operation_id: bytes = b""
    digest: bytes = b""


class TaskDispatched(Value):
    """A task that waited was leased to a worker session."""

    operation: OperationRef
    attempt: int
    session_id: bytes
    worker: str


class AttemptEnded(Value):
    """An attempt ended without an outcome."""

    operation: OperationRef
    attempt: int
    cause: str
    error_type: str
    next_attempt_at: datetime | None


class HandlerStarted(Value):
    """The handler went asynchronous."""

    operation: OperationRef
    attempt: int


class CancelRequested(Value):
    """The caller asked to cancel."""

    operation: OperationRef
    digest: bytes


class SignalReceived(Value):
    """The caller sent a signal."""

    operation: OperationRef
    digest: bytes
    signal_bytes: int
    number: int


class OperationEnded(Value):
    """The operation reached its outcome."""

    operation: OperationRef
    state: State
    request_digest: bytes
    outcome_digest: bytes
    outcome_bytes: int
    statement: Statement | None
    attempts: int
    reason: str = ""


class OperationRedriven(Value):
    """A parked operation got new attempts; ``attempts`` and ``error_type`` are those of before."""

    operation: OperationRef
    attempts: int
    error_type: str


class CircuitOpened(Value):
    """Attempts failed so often in a row that the next ones wait. Without a caller: those of every caller."""

    endpoint: str
    handler: str
    task_queue: str
    caller: str
    failures: int
    error_type: str
    until: datetime


class CircuitClosed(Value):
    """Attempts go out again; ``cause`` says why: answered, switched_off, unused."""

    endpoint: str
    handler: str
    task_queue: str
    caller: str
    cause: str


class LateOutcomeRefused(Value):
    """An outcome came after the end."""

    operation: OperationRef
    attempt: int
    outcome_digest: bytes


class OperationsExpired(Value):
    """The retention of operations was over: their payloads were deleted, their identities are kept."""

    endpoint: str
    namespace: str
    operations: int
    closed_until: datetime


class NamespaceCreated(Value):
    """A namespace was created."""

    namespace: str


class EndpointChanged(Value):
    """Something about an endpoint changed; ``other`` is whom it is offered to, or whose it was before."""

    endpoint: str
    namespace: str
    change: str
    fields: tuple[str, ...] = ()
    other: str = ""


class CursorChanged(Value):
    """A cursor of a namespace's feed was made or deleted."""

    namespace: str
    cursor: str
    change: str


class EventPublished(Value):
    """The owner of an endpoint published an event to a reader."""

    event_id: bytes
    endpoint: str
    publisher: str
    reader: str
    name: str
    digest: bytes
    event_bytes: int
    rule: str


class KeysetPublished(Value):
    """A keyset was published."""

    namespace: str
    version: int
    keyset_hash: bytes
    root_fingerprint: bytes


class EndpointRecordPublished(Value):
    """The owner of an endpoint published what it signed about it."""

    endpoint: str
    namespace: str
    version: int
    record_hash: bytes
    task_queue: str
    required_recipients: tuple[str, ...]


class MessagesRewrapped(Value):
    """A namespace moved messages that are kept for it to another of its keys."""

    namespace: str
    messages: int
    key_id: bytes


class AuthenticationFailed(Value):
    """Credentials were refused, counted per source, reason and second."""

    reason: str
    source: str
    count: int


class StoreRestored(Value):
    """The store was restored from a backup: what was committed between it and this record is gone.

    ``namespace`` is the one that this record tells; empty in the record of the platform.
    """

    namespace: str
    taken_at: datetime
    last_position: int


Happening = (
    OperationStarted
    | RequestDenied
    | TaskDispatched
    | AttemptEnded
    | HandlerStarted
    | CancelRequested
    | SignalReceived
    | OperationEnded
    | OperationRedriven
    | CircuitOpened
    | CircuitClosed
    | LateOutcomeRefused
    | OperationsExpired
    | NamespaceCreated
    | EndpointChanged
    | CursorChanged
    | EventPublished
    | KeysetPublished
    | EndpointRecordPublished
    | MessagesRewrapped
    | AuthenticationFailed
    | StoreRestored
)


class AuditRecord(Value):
    """One thing that happened, when, and who did it."""

    occurred_at: datetime
    actor: Actor
    happening: Happening
