"""What the store keeps besides operations, and audit records."""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import ClassVar

from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.core.value import Value
from isthmus.wire.names import EndpointName, NamespaceName, OperationId


class EnvelopeSlot(Enum):
    """Which sealed message of an operation: each slot holds at most one, as it came over the wire."""

    REQUEST = "request"
    OUTCOME = "outcome"
    CANCEL = "cancel"
    STARTED = "started"
    LAST_FAILURE = "last_failure"
    DETAILS = "details"
    PROGRESS = "progress"

    # Members are singletons; Enum's own hash is a Python function, and these are looked up often.
    __hash__ = object.__hash__


class TaskKind(Enum):
    """What a worker is asked to do."""

    START = "start"
    CANCEL = "cancel"
    SIGNAL = "signal"

    # Members are singletons; Enum's own hash is a Python function, and these are looked up often.
    __hash__ = object.__hash__


class QueueKey(Value):
    """A task queue belongs to the namespace that serves it."""

    namespace: NamespaceName
    task_queue: str


class Task(Value):
    """Work that waits in a queue (no session) or is leased to a worker session.

    At most one task of each kind exists for an operation. ``attempt`` is the attempt under way when it is
    leased, and the number of attempts so far while it waits. Of a signal task it is the signal's number.
    """

    key: OperationKey
    kind: TaskKind
    queue: QueueKey
    attempt: int
    ready_at: datetime
    session_id: bytes | None = None


class WorkerSession(Value):
    """A worker process, across its reconnects. Leases live exactly as long as the session."""

    session_id: bytes
    queue: QueueKey
    principal: str
    identity: str
    version: str
    expires_at: datetime


class Namespace(Value):
    """A team's isolation unit."""

    name: NamespaceName
    description: str
    created_at: datetime


class MessagePlace(Value):
    """Where a sealed message is kept: which part of which operation, or which event."""

    CONTEXT: ClassVar[str] = "context"
    SIGNAL: ClassVar[str] = "signal"
    EVENT: ClassVar[str] = "event"

    namespace: NamespaceName
    """The caller of the operation, or the publisher of the event."""
    ident: OperationId
    """Of the operation, or the event."""
    part: str
    """A slot's value, or one of the above."""
    number: int
    """Contexts count from 0, signals from 1."""


class SealedHead(Value):
    """The beginning of a message that is kept: header and wraps."""

    place: MessagePlace
    head: bytes
    is_open: bool
    """Whether its operation has not ended."""


class SealedPage(Value):
    """Some of what is kept for a namespace."""

    heads: Sequence[SealedHead]
    next: str
    """Where to go on, empty at the end."""


class StoredKeyset(Value):
    """A keyset as its namespace published it, with what vouches for it; the gateway checked all of it."""

    namespace: NamespaceName
    version: int
    keyset: bytes
    """The serialized keyset itself."""
    message: bytes
    """All of it as relayed: a serialized ``isthmus.v1.SignedKeyset``."""
    published_at: datetime


class StoredEndpointRecord(Value):
    """What the owner of an endpoint signed about it; the gateway checked it."""

    endpoint: EndpointName
    namespace: NamespaceName
    """The owner that signed."""
    version: int
    record: bytes
    """The serialized record itself."""
    message: bytes
    """With its signature, as relayed: a serialized ``isthmus.v1.SignedStatement``."""
    published_at: datetime
