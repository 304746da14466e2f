"""What a command may read and write: all of it is committed together, or nothing."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.core.audit_record import AuditRecord
from isthmus.gateway.core.circuit import Circuit, Line
from isthmus.gateway.core.operation import Operation, OperationKey
from isthmus.gateway.ports.feed import FeedUnit
from isthmus.gateway.ports.key_holders import KeyHolderUnit
from isthmus.gateway.ports.retention import RetentionUnit
from isthmus.gateway.ports.signals import Signal
from isthmus.gateway.ports.values import (
    EnvelopeSlot,
    Namespace,
    QueueKey,
    StoredEndpointRecord,
    StoredKeyset,
    Task,
    TaskKind,
    WorkerSession,
)

T = TypeVar("T")


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

    def contexts(self, key: OperationKey) -> Sequence[bytes]:
        """Return what the caller sealed to itself at its starts, as they came; at most ten."""
        ...

    def put_context(self, key: OperationKey, number: int, context: bytes) -> None:
        """Write the n-th context of an operation, from 0.

        Raises:
            NotFoundError: the operation does not exist.
        """
        ...

    def put_operation_token(self, key: OperationKey, token_key: bytes) -> None:
        """Let an operation be found by the keyed hash of its token, too, replacing the one that it had.

        Raises:
            NotFoundError: the operation does not exist.
        """
        ...

    def signal_envelope(self, key: OperationKey, number: int) -> bytes | None:
        """Return the n-th sealed signal of an operation, from 1."""
        ...

    def put_signal_envelope(self, key: OperationKey, number: int, envelope: bytes) -> None:
        """Write the n-th sealed signal of an operation; an operation counts its signals itself.

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

    def tasks_ahead(
        self, queue: QueueKey, caller: str, now: datetime, limit: int, *, after: Task | None
    ) -> Sequence[tuple[Task, Operation]]:
        """Return ``ready_tasks`` from behind a task on, each with its operation; None: from the first on."""
        ...

    def session_tasks(self, session_id: bytes) -> Sequence[Task]:
        """Return the tasks that a session leased, oldest operation first."""
        ...

    def worker_session(self, session_id: bytes) -> WorkerSession | None:
        """Return a session."""
        ...

    def may_lease(self, session_id: bytes) -> bool:
        """Whether tasks may be leased to a session that this process knows; false when others lost it.

        A store that serves one gateway answers without looking.
        """
        ...

    def put_worker_session(self, session: WorkerSession) -> None:
        """Add or replace a session."""
        ...

    def remove_worker_session(self, session_id: bytes) -> None:
        """Forget a session."""
        ...

    def present_versions(self, queue: QueueKey, now: datetime) -> Mapping[str, int]:
        """Return how many sessions of each version have a lease on the queue that did not run out."""
        ...

    def expired_sessions(self, now: datetime, limit: int) -> Sequence[WorkerSession]:
        """Return sessions whose lease ran out, longest ago first."""
        ...


class CircuitUnit(Protocol):
    """Circuits that are open."""

    def circuit(self, line: Line) -> Circuit | None:
        """Return the circuit of a line; None: it is closed."""
        ...

    def put_circuit(self, circuit: Circuit) -> None:
        """Add or replace a circuit."""
        ...

    def remove_circuit(self, line: Line) -> None:
        """Forget a circuit, if it is there."""
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

    def put_keyset(self, keyset: StoredKeyset) -> None:
        """Add a keyset, or what vouches for it anew; older versions are kept.

        Raises:
            PreconditionError: its version is lower than that of the newest.
        """
        ...

    def endpoint_record(self, endpoint: str, namespace: str) -> StoredEndpointRecord | None:
        """Return the newest record that a namespace signed about an endpoint, also when it lost it since."""
        ...

    def put_endpoint_record(self, record: StoredEndpointRecord) -> None:
        """Add a record; older versions are kept. The endpoint is written in the same unit of work.

        Raises:
            PreconditionError: its version is not higher than that of the newest.
        """
        ...


class AuditUnit(Protocol):
    """The audit log."""

    def append_audit(self, record: AuditRecord) -> None:
        """Append a record; its position follows the order of commits. The commit signals AuditAppended."""
        ...


class UnitOfWork(
    OperationUnit,
    TaskUnit,
    CircuitUnit,
    RegistryUnit,
    KeyHolderUnit,
    RetentionUnit,
    FeedUnit,
    AuditUnit,
    Protocol,
):
    """All of one command: committed together or not at all."""

    def signal(self, signal: Signal) -> None:
        """Tell this process something, after the commit and only then."""
        ...


Command = Callable[[UnitOfWork], T]
