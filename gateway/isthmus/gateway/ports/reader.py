"""What a query may read: a snapshot of what is committed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.core.circuit import Circuit, Line
from isthmus.gateway.core.feed import Cursor, PublishedEvent
from isthmus.gateway.core.identity import Identity
from isthmus.gateway.core.operation import Operation, OperationKey, State
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports.backlog import WaitingGroup
from isthmus.gateway.ports.evidence import Evidence
from isthmus.gateway.ports.feed import FeedRecord
from isthmus.gateway.ports.key_holders import KeyHolderReader
from isthmus.gateway.ports.values import (
    EnvelopeSlot,
    Namespace,
    QueueKey,
    SealedPage,
    StoredEndpointRecord,
    StoredKeyset,
    WorkerSession,
)


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


class Reader(KeyHolderReader, Protocol):
    """A consistent snapshot of what is committed."""

    def operation(self, key: OperationKey) -> Operation | None:
        """Return an operation."""
        ...

    def operations_handled(self, handler: str, operation_id: bytes) -> Sequence[Operation]:
        """Return the operations with this id that a namespace handles, whoever called; at most two."""
        ...

    def contexts(self, key: OperationKey) -> Sequence[bytes]:
        """Return what the caller sealed to itself at its starts, as they came; at most ten."""
        ...

    def operations_with_token(self, handler: str, token_key: bytes) -> Sequence[Operation]:
        """Return the operations with this token that a namespace handles; at most two."""
        ...

    def identity(self, key: OperationKey) -> Identity | None:
        """Return what stays of a retired operation."""
        ...

    def identity_handled(self, handler: str, operation_id: bytes) -> Identity | None:
        """Return what stays of a retired operation with this id that a namespace handled, whoever called."""
        ...

    def envelope(self, key: OperationKey, slot: EnvelopeSlot) -> bytes | None:
        """Return a sealed message."""
        ...

    def evidence(self, keys: Sequence[OperationKey], most_bytes: int) -> Sequence[Evidence]:
        """Return where operations are and what proves it, in the order of the keys, which are distinct.

        Of the first ones only, if the sealed messages of all have more bytes than asked for; of one at least.
        It takes as many queries as for one operation.
        """
        ...

    def signal_envelope(self, key: OperationKey, number: int) -> bytes | None:
        """Return the n-th sealed signal of an operation, from 1."""
        ...

    def list_operations(self, wanted: OperationFilter) -> Sequence[ListedOperation]:
        """Return a page of operations."""
        ...

    def open_operations(self, endpoint: str, after: int, limit: int) -> Sequence[ListedOperation]:
        """Return operations of an endpoint that are not terminal, oldest first, from beyond a position."""
        ...

    def busy_endpoints(self, after: str, limit: int) -> Sequence[str]:
        """Return endpoints that have open operations, by name (code points), from beyond a name.

        What it costs does not grow with the operations.
        """
        ...

    def waiting_groups(self, endpoint: str, now: datetime, limit: int) -> Sequence[WaitingGroup]:
        """Return the open operations of an endpoint, in groups; it looks at ``limit`` of them at most."""
        ...

    def worker_session(self, session_id: bytes) -> WorkerSession | None:
        """Return a session."""
        ...

    def present_versions(self, queue: QueueKey, now: datetime) -> Mapping[str, int]:
        """Return how many sessions of each version have a lease on the queue that did not run out."""
        ...

    def routed_endpoints(self, limit: int) -> Sequence[Endpoint]:
        """Return endpoints that are not deleted and say something of versions, by name, up to ``limit``."""
        ...

    def has_ready_tasks(self, queue: QueueKey, now: datetime) -> bool:
        """Whether the queue has a task that could go out now."""
        ...

    def next_ready_at(self, queue: QueueKey, *, after: datetime | None = None) -> datetime | None:
        """When the next waiting task of the queue becomes ready, later than a moment; None when none does."""
        ...

    def circuit(self, line: Line) -> Circuit | None:
        """Return the circuit of a line; None: it is closed."""
        ...

    def circuits(self, limit: int) -> Sequence[Circuit]:
        """Return the circuits that are open, up to ``limit``."""
        ...

    def endpoint(self, name: str) -> Endpoint | None:
        """Return an endpoint, a deleted one too."""
        ...

    def list_endpoints(self, namespace: str, after: str, limit: int) -> Sequence[Endpoint]:
        """Return endpoints that are not deleted, by name; of all namespaces when namespace is empty."""
        ...

    def list_every_endpoint(self, after: str, limit: int) -> Sequence[Endpoint]:
        """Return endpoints by name, deleted ones too."""
        ...

    def list_draining_endpoints(self, after: str, limit: int) -> Sequence[Endpoint]:
        """Return endpoints that take no new operations, by name; none that is deleted."""
        ...

    def is_retention_due(self, endpoint: str, closed_until: datetime) -> bool:
        """Whether an endpoint may have operations to retire that closed until a moment."""
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

    def endpoint_records(self, endpoint: str, namespace: str, limit: int) -> Sequence[StoredEndpointRecord]:
        """Return the records that a namespace signed about an endpoint, the newest first."""
        ...

    def sealed_messages(self, namespace: str, after: str, most: int) -> SealedPage:
        """Return the beginnings of what belongs to so many operations and events of a namespace.

        ``after`` is what the page before said. Raises ValueError when no page said so.
        """
        ...

    def cursor(self, namespace: str, name: str) -> Cursor | None:
        """Return a cursor of a namespace's feed."""
        ...

    def list_cursors(self, namespace: str, limit: int) -> Sequence[Cursor]:
        """Return the cursors of a namespace, by name."""
        ...

    def published_event(self, reader: str, publisher: str, event_id: bytes) -> PublishedEvent | None:
        """Return an event that a namespace published for another one."""
        ...

    def feed_records(self, namespace: str, after: int, limit: int) -> Sequence[FeedRecord]:
        """Return audit records in which a namespace is the caller, oldest first, from beyond a position.

        What is committed later always has a greater position, whatever was begun first.
        """
        ...

    def audit_events(self, wanted: AuditFilter) -> Sequence[StoredAuditEvent]:
        """Return a page of the audit log."""
        ...

    def last_audit_position(self) -> int:
        """Return the position of the newest audit record, 0 when there is none."""
        ...
