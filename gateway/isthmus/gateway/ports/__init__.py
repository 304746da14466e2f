"""What the use cases need of the world, as protocols with documented promises.

The store is the only truth. A command is a plain function ``command(unit_of_work, …) -> result`` without I/O
of its own: everything goes through the unit of work. Text holds no NUL, which PostgreSQL cannot keep. One
contract test suite holds every store to this.
"""

from isthmus.gateway.ports.backlog import WaitingGroup
from isthmus.gateway.ports.evidence import Evidence
from isthmus.gateway.ports.feed import FeedRecord, FeedUnit
from isthmus.gateway.ports.key_holders import KeyHolder, KeyHolderReader, KeyHolderUnit
from isthmus.gateway.ports.reader import (
    AuditFilter,
    ListedOperation,
    OperationFilter,
    Reader,
    StoredAuditEvent,
)
from isthmus.gateway.ports.retention import RetentionUnit, Retired
from isthmus.gateway.ports.signals import (
    AttemptFailed,
    AuditAppended,
    CircuitChanged,
    EventArrived,
    HandlerAccepted,
    OperationClosed,
    ProgressReported,
    RegistryChanged,
    Signal,
    SignalRecorded,
    StartCounted,
    TaskInterrupted,
    TasksReady,
)
from isthmus.gateway.ports.store import Awaited, CommitWatcher, Listener, Store
from isthmus.gateway.ports.unit_of_work import (
    AuditUnit,
    CircuitUnit,
    Command,
    OperationUnit,
    RegistryUnit,
    TaskUnit,
    UnitOfWork,
)
from isthmus.gateway.ports.values import (
    EnvelopeSlot,
    MessagePlace,
    Namespace,
    QueueKey,
    SealedHead,
    SealedPage,
    StoredEndpointRecord,
    StoredKeyset,
    Task,
    TaskKind,
    WorkerSession,
)
from isthmus.gateway.ports.world import Clock, Randomness

__all__ = [
    "AttemptFailed",
    "AuditAppended",
    "AuditFilter",
    "AuditUnit",
    "Awaited",
    "CircuitChanged",
    "CircuitUnit",
    "Clock",
    "Command",
    "CommitWatcher",
    "EnvelopeSlot",
    "EventArrived",
    "Evidence",
    "FeedRecord",
    "FeedUnit",
    "HandlerAccepted",
    "KeyHolder",
    "KeyHolderReader",
    "KeyHolderUnit",
    "ListedOperation",
    "Listener",
    "MessagePlace",
    "Namespace",
    "OperationClosed",
    "OperationFilter",
    "OperationUnit",
    "ProgressReported",
    "QueueKey",
    "Randomness",
    "Reader",
    "RegistryChanged",
    "RegistryUnit",
    "RetentionUnit",
    "Retired",
    "SealedHead",
    "SealedPage",
    "Signal",
    "SignalRecorded",
    "StartCounted",
    "Store",
    "StoredAuditEvent",
    "StoredEndpointRecord",
    "StoredKeyset",
    "Task",
    "TaskInterrupted",
    "TaskKind",
    "TaskUnit",
    "TasksReady",
    "UnitOfWork",
    "WaitingGroup",
    "WorkerSession",
]
