"""What the use cases need of the world, as protocols with documented promises.

The store is the only truth. A command is a plain function ``command(unit_of_work, …) -> result`` without I/O
of its own: everything goes through the unit of work. One contract test suite holds every store to this.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from typing import Protocol, TypeVar

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.core.audit_record import AuditRecord
from isthmus.gateway.core.operation import Operation, OperationKey, State
from isthmus.gateway.core.value import Value
from isthmus.wire.names import NamespaceName

T = TypeVar("T")


class EnvelopeSlot(Enum):
    """Which sealed message of an operation: each slot holds at most one, as it came over the wire."""

    REQUEST = "request"
    OUTCOME = "outcome"
    CANCEL = "cancel"
    STARTED = "started"
    LAST_FAILURE = "last_failure"

    # Members are singletons; Enum's own hash is a Python function, and these are looked up often.
    __hash__ = object.__hash__


class TaskKind(Enum):
    """What a worker is asked to do."""

    START = "start"
    CANCEL = "cancel"

    # Members are singletons; Enum's own hash is a Python function, and these are looked up often.
    __hash__ = object.__hash__


class QueueKey(Value):
    """A task queue belongs to the namespace that serves it."""

    namespace: NamespaceName
    task_queue: str


class Task(Value):
    """Work that waits in a queue (no session) or is leased to a worker session.

    At most one task of each kind exists for an operation. ``attempt`` is the attempt under way when it is
    leased, and the number of attempts so far while it waits.
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


class StoredKeyset(Value):
    """A signed keyset as its namespace published it; the gateway checked version, root and signature."""

    namespace: NamespaceName
    version: int
    keyset: bytes
    root_public_key: bytes
    signature: bytes
    published_at: datetime


# --- what is told to this process after a commit ------------------------------------------------------------


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


class RegistryChanged(Value):
    """A namespace, an endpoint or a keyset changed: caches of it are stale."""

    namespace: str
    endpoint: str = ""


class AuditAppended(Value):
    """The audit log has new records."""


Signal = TasksReady | TaskInterrupted | OperationClosed | RegistryChanged | AuditAppended


# --- unit of work -------------------------------------------------------------------------------------------


class OperationUnit(Protocol):
    """Operations and their sealed messages."""

    def operation(self, key: OperationKey) -> Operation | None:
        """Return the operation, with every change that this unit of work made so far."""
        ...

    def insert_operation(self, operation: Operation, request: bytes) -> None:
        """Add an operation that does not exist, with its sealed request.

        Raises:
            AlreadyExistsError: it exists.
        """
        ...

    def update_operation(self, operation: Operation) -> None:
        """Replace what can change of an operation that exists.

        Raises:
            NotFoundError: it does not exist.
            PreconditionError: identity, route, request or timeouts differ: an operation is born with them.
        """
        ...

    def envelope(self, key: OperationKey, slot: EnvelopeSlot) -> bytes | None:
        """Return a sealed message."""
        ...

    def put_envelope(self, key: OperationKey, slot: EnvelopeSlot, envelope: bytes) -> None:
        """Write a sealed message, replacing the one in that slot.

        Raises:
            NotFoundError: the operation does not exist.
        """
        ...

    def overdue_operations(self, now: datetime, limit: int) -> Sequence[OperationKey]:
        """Return open operations whose next timeout has elapsed, longest overdue first."""
        ...

    def count_open_operations(self, endpoint: str) -> int:
        """Return how many operations of an endpoint are not terminal, counting no further than 1000."""
        ...

    def count_open_operations_of(self, endpoint: str, caller: str) -> int:
        """Return how many operations of a caller at an endpoint are not terminal; counted once, then kept."""
        ...


class TaskUnit(Protocol):
    """Task queues and worker sessions."""

    def put_task(self, task: Task) -> None:
        """Add a task or replace the one of the same operation and kind.

        Raises:
            NotFoundError: the operation does not exist.
        """
        ...

    def task(self, key: OperationKey, kind: TaskKind) -> Task | None:
        """Return the task of an operation."""
        ...

    def remove_task(self, key: OperationKey, kind: TaskKind) -> None:
        """Remove a task, if it is there."""
        ...

    def callers_in_line(self, queue: QueueKey, now: datetime, *, after: str, limit: int) -> Sequence[str]:
        """Return callers that have a task in the queue that nobody leased and that is ready, each once.

        By name (code points), from the first that is greater than ``after`` and going round: ``after`` itself
        would be the last. What it costs does not grow with the tasks that wait.
        """
        ...

    def ready_tasks(self, queue: QueueKey, caller: str, now: datetime, limit: int) -> Sequence[Task]:
        """Return a caller's tasks in the queue that nobody leased and that are ready, as they became ready.

        Those that became ready at the same moment come in the order in which their operations were started.
        """
        ...

    def session_tasks(self, session_id: bytes) -> Sequence[Task]:
        """Return the tasks that a session leased, oldest operation first."""
        ...

    def worker_session(self, session_id: bytes) -> WorkerSession | None:
        """Return a session."""
        ...

    def put_worker_session(self, session: WorkerSession) -> None:
        """Add or replace a session."""
        ...

    def remove_worker_session(self, session_id: bytes) -> None:
        """Forget a session."""
        ...

    def expired_sessions(self, now: datetime, limit: int) -> Sequence[WorkerSession]:
        """Return sessions whose lease ran out, longest ago first."""
        ...


class RegistryUnit(Protocol):
    """Namespaces, endpoints and keysets."""

    def namespace(self, name: str) -> Namespace | None:
        """Return a namespace."""
        ...

    def insert_namespace(self, namespace: Namespace) -> None:
        """Add a namespace that does not exist.

        Raises:
            AlreadyExistsError: it exists.
        """
        ...

    def endpoint(self, name: str) -> Endpoint | None:
        """Return an endpoint; a deleted one too, because its name stays reserved."""
        ...

    def put_endpoint(self, endpoint: Endpoint) -> None:
        """Add or replace an endpoint."""
        ...

    def keyset(self, namespace: str) -> StoredKeyset | None:
        """Return the newest keyset of a namespace."""
        ...

    def insert_keyset(self, keyset: StoredKeyset) -> None:
        """Add a keyset; older versions are kept.

        Raises:
            PreconditionError: its version is not higher than that of the newest.
        """
        ...


class AuditUnit(Protocol):
    """The audit log."""

    def append_audit(self, record: AuditRecord) -> None:
        """Append a record; its position follows the order of commits. The commit signals AuditAppended."""
        ...


class UnitOfWork(OperationUnit, TaskUnit, RegistryUnit, AuditUnit, Protocol):
    """All of one command: committed together or not at all."""

    def signal(self, signal: Signal) -> None:
        """Tell this process something, after the commit and only then."""
        ...


Command = Callable[[UnitOfWork], T]


# --- reading ------------------------------------------------------------------------------------------------


class OperationFilter(Value):
    """Which operations to list; newest first. ``before`` continues after the last one of a page."""

    caller: str = ""
    handler: str = ""
    endpoint: str = ""
    states: frozenset[State] = frozenset()
    before: int | None = None
    limit: int = 50


class ListedOperation(Value):
    """An operation and its place in the listing order."""

    position: int
    operation: Operation


class AuditFilter(Value):
    """Which audit records; oldest first, positions greater than ``after``.

    A namespace finds what it called, handles or did. ``since`` (inclusive) and ``until`` (exclusive) are in
    the time of the log, which never runs backwards: a record whose clock was behind counts as of the one
    before it.
    """

    namespace: str = ""
    endpoint: str = ""
    operation_id: bytes = b""
    since: datetime | None = None
    until: datetime | None = None
    types: frozenset[str] = frozenset()
    after: int = 0
    limit: int = 100


class StoredAuditEvent(Value):
    """A record at its place in the log: the exact bytes that were committed."""

    position: int
    event: bytes


class Reader(Protocol):
    """A consistent snapshot of what is committed."""

    def operation(self, key: OperationKey) -> Operation | None:
        """Return an operation."""
        ...

    def operations_handled(self, handler: str, operation_id: bytes) -> Sequence[Operation]:
        """Return the operations with this id that a namespace handles, whoever called; at most two."""
        ...

    def envelope(self, key: OperationKey, slot: EnvelopeSlot) -> bytes | None:
        """Return a sealed message."""
        ...

    def list_operations(self, wanted: OperationFilter) -> Sequence[ListedOperation]:
        """Return a page of operations."""
        ...

    def open_operations(self, endpoint: str, after: int, limit: int) -> Sequence[ListedOperation]:
        """Return operations of an endpoint that are not terminal, oldest first, from beyond a position."""
        ...

    def worker_session(self, session_id: bytes) -> WorkerSession | None:
        """Return a session."""
        ...

    def has_ready_tasks(self, queue: QueueKey, now: datetime) -> bool:
        """Whether the queue has a task that could go out now."""
        ...

    def next_ready_at(self, queue: QueueKey) -> datetime | None:
        """When the next waiting task of the queue becomes ready; None when none waits."""
        ...

    def endpoint(self, name: str) -> Endpoint | None:
        """Return an endpoint, a deleted one too."""
        ...

    def list_endpoints(self, namespace: str, after: str, limit: int) -> Sequence[Endpoint]:
        """Return endpoints that are not deleted, by name; of all namespaces when namespace is empty."""
        ...

    def namespace(self, name: str) -> Namespace | None:
        """Return a namespace."""
        ...

    def list_namespaces(self, after: str, limit: int) -> Sequence[Namespace]:
        """Return namespaces by name."""
        ...

    def keyset(self, namespace: str) -> StoredKeyset | None:
        """Return the newest keyset of a namespace."""
        ...

    def audit_events(self, wanted: AuditFilter) -> Sequence[StoredAuditEvent]:
        """Return a page of the audit log."""
        ...

    def last_audit_position(self) -> int:
        """Return the position of the newest audit record, 0 when there is none."""
        ...


class Store(Protocol):
    """The one durable thing. Commands of concurrent callers share commits."""

    async def transact(self, command: Command[T], *, reads: Sequence[OperationKey] = ()) -> T:
        """Run a command and return its result after its changes are on disk.

        ``reads`` names operations that the command will ask for: a hint, with which a store looks up those of
        all commands that share a commit at once.

        Commands see the changes of those before them. A command that raises changes nothing, and its error
        is raised here; it does not disturb others that share the commit. When the commit fails, every command
        in it gets UnavailableError and nothing of any of them is visible. Signals are delivered after the
        commit, in commit order, before this call returns. If the caller is cancelled, the command may still
        commit.

        A command may run more than once before it is committed, on a state that others changed meanwhile:
        only its last run counts, so it must not act on anything but the unit of work.

        Raises:
            UnavailableError: the store cannot commit now; nothing was changed.
            ExhaustedError: too many commands wait; nothing was changed.
        """
        ...

    def submit_all(
        self, commands: Sequence[Command[T]], *, reads: Sequence[OperationKey] = ()
    ) -> "asyncio.Future[list[T | BaseException]]":
        """Run commands as ``transact`` does each of them, and return at once with one future for all.

        They share a commit as far as they can, but each succeeds or fails on its own: entry i of the result
        is what command i returned, or its error. Cancelling the future changes nothing but that nobody learns
        the result.

        Raises:
            UnavailableError, ExhaustedError: as transact; none of them runs.
        """
        ...

    async def read(self, query: Callable[[Reader], T]) -> T:
        """Run a query on a snapshot that contains every commit acknowledged so far."""
        ...

    async def can_commit(self) -> bool:
        """Whether commits succeed: at once as long as the last one did; else one more is tried."""
        ...

    def subscribe(self, listener: Callable[[Sequence[Signal]], None]) -> None:
        """Call the listener with the signals of each commit, on the event loop that runs the store."""
        ...

    async def open(self) -> None:
        """Take the store: check its settings, its schema version and that no other gateway has it.

        Raises:
            ConfigurationError: the settings are not durable, or the schema does not fit.
            UnavailableError: another gateway has it.
        """
        ...

    async def close(self) -> None:
        """Commit what was accepted, refuse what comes later, release the store."""
        ...


# --- the rest of the world ----------------------------------------------------------------------------------


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        ...


class Randomness(Protocol):
    """Draws what must not be predictable or shared."""

    def jitter(self) -> float:
        """Draw from [0, 1)."""
        ...

    def etag(self) -> str:
        """Draw a short unique text."""
        ...
