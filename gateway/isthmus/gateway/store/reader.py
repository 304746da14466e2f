"""Queries on a snapshot of what is committed."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.core.circuit import Circuit, Line
from isthmus.gateway.core.feed import Cursor, PublishedEvent
from isthmus.gateway.core.identity import Identity
from isthmus.gateway.core.operation import Operation, OperationKey
from isthmus.gateway.ports import (
    AuditFilter,
    EnvelopeSlot,
    Evidence,
    FeedRecord,
    KeyHolder,
    ListedOperation,
    Namespace,
    OperationFilter,
    QueueKey,
    SealedPage,
    StoredAuditEvent,
    StoredEndpointRecord,
    StoredKeyset,
    WaitingGroup,
    WorkerSession,
)
from isthmus.gateway.store import (
    audit_events,
    backlog,
    circuits,
    evidence,
    feed,
    key_holders,
    operation_tokens,
    operations,
    registry,
    retention,
    sealed_messages,
    tasks,
)
from isthmus.gateway.store.driver import Connection
from isthmus.gateway.store.moments import from_microseconds
from isthmus.gateway.store.operations import StoredOperation
from isthmus.gateway.store.statements import Row
from isthmus.wire.limits import MAX_CALLER_CONTEXTS


class SnapshotReader:
    """``ports.Reader`` over a connection in a read transaction."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def operation(self, key: OperationKey) -> Operation | None:
        """Return an operation."""
        stored = self._find(key)
        return None if stored is None else stored.operation

    def operations_handled(self, handler: str, operation_id: bytes) -> Sequence[Operation]:
        """Return the operations with this id that a namespace handles, whoever called; at most two."""
        rows = self._all(operations.SELECT_HANDLED, operations.handled_parameters(handler, operation_id))
        return [operations.from_row(row).operation for row in rows]

    def contexts(self, key: OperationKey) -> Sequence[bytes]:
        """Return what the caller sealed to itself at its starts, as they came; at most ten."""
        stored = self._find(key)
        found: list[bytes] = []
        while stored is not None and len(found) < MAX_CALLER_CONTEXTS:
            identity = operations.context_id(stored.position, len(found))
            row = self._one(operations.SELECT_ENVELOPE, (identity,))
            if row is None:
                break
            found.append(row[0])
        return found

    def operations_with_token(self, handler: str, token_key: bytes) -> Sequence[Operation]:
        """Return the operations with this token that a namespace handles; at most two."""
        parameters = (handler, token_key, operation_tokens.MOST_FOUND)
        rows = self._all(operation_tokens.SELECT_OPERATIONS, parameters)
        return [operations.from_row(row).operation for row in rows]

    def identity(self, key: OperationKey) -> Identity | None:
        """Return what stays of a retired operation."""
        row = self._one(retention.SELECT, (key.operation_id, key.caller))
        return None if row is None else retention.from_row(row)

    def identity_handled(self, handler: str, operation_id: bytes) -> Identity | None:
        """Return what stays of a retired operation with this id that a namespace handled, whoever called."""
        row = self._one(retention.SELECT_HANDLED, (operation_id, handler, 1))
        return None if row is None else retention.from_row(row)

    def envelope(self, key: OperationKey, slot: EnvelopeSlot) -> bytes | None:
        """Return a sealed message."""
        stored = self._find(key)
        if stored is None:
            return None
        row = self._one(operations.SELECT_ENVELOPE, (operations.envelope_id(stored.position, slot),))
        return None if row is None else row[0]

    def evidence(self, keys: Sequence[OperationKey], most_bytes: int) -> Sequence[Evidence]:
        """Return where operations are and what proves it, of as many as fit into the bytes."""
        connection = self._connection
        return evidence.evidence(lambda query, rows: query.select(connection, rows), keys, most_bytes)

    def signal_envelope(self, key: OperationKey, number: int) -> bytes | None:
        """Return the n-th sealed signal of an operation, from 1."""
        stored = self._find(key)
        if stored is None:
            return None
        identity = operations.signal_envelope_id(stored.position, number)
        row = self._one(operations.SELECT_ENVELOPE, (identity,))
        return None if row is None else row[0]

    def list_operations(self, wanted: OperationFilter) -> Sequence[ListedOperation]:
        """Return a page of operations."""
        return operations.listed(self._all(*operations.listing(wanted)))

    def open_operations(self, endpoint: str, after: int, limit: int) -> Sequence[ListedOperation]:
        """Return operations of an endpoint that are not terminal, oldest first, from beyond a position."""
        return operations.listed(self._all(operations.SELECT_OPEN, (endpoint, after, limit)))

    def busy_endpoints(self, after: str, limit: int) -> Sequence[str]:
        """Return endpoints that have open operations, by name, from beyond a name."""
        return [endpoint for (endpoint,) in self._all(backlog.SELECT_BUSY_ENDPOINTS, (after, limit))]

    def waiting_groups(self, endpoint: str, now: datetime, limit: int) -> Sequence[WaitingGroup]:
        """Return the open operations of an endpoint, in groups; it looks at ``limit`` of them at most."""
        rows = self._all(backlog.SELECT_GROUPS, backlog.group_parameters(endpoint, now, limit))
        return [backlog.group_from_row(endpoint, row) for row in rows]

    def worker_session(self, session_id: bytes) -> WorkerSession | None:
        """Return a session."""
        row = self._one(tasks.SELECT_SESSION, (session_id,))
        return None if row is None else tasks.session_from_row(row)

    def present_versions(self, queue: QueueKey, now: datetime) -> Mapping[str, int]:
        """Return how many sessions of each version have a lease on the queue that did not run out."""
        return dict(self._all(tasks.SELECT_PRESENT_VERSIONS, tasks.present_parameters(queue, now)))

    def routed_endpoints(self, limit: int) -> Sequence[Endpoint]:
        """Return endpoints that are not deleted and say something of versions, by name."""
        return [registry.endpoint_from_row(row) for row in self._all(registry.LIST_ROUTED, ("", limit))]

    def has_ready_tasks(self, queue: QueueKey, now: datetime) -> bool:
        """Whether the queue has a task that could go out now."""
        ready_at = self.next_ready_at(queue)
        return ready_at is not None and ready_at <= now

    def next_ready_at(self, queue: QueueKey, *, after: datetime | None = None) -> datetime | None:
        """When the next waiting task of the queue becomes ready, later than a moment; None when none does."""
        row = self._one(tasks.SELECT_NEXT_READY_AT, tasks.next_ready_parameters(queue, after))
        return None if row is None else from_microseconds(row[0])

    def circuit(self, line: Line) -> Circuit | None:
        """Return the circuit of a line; None: it is closed."""
        row = self._one(circuits.SELECT, (circuits.circuit_id(line),))
        return None if row is None else circuits.circuit_from_row(row)

    def circuits(self, limit: int) -> Sequence[Circuit]:
        """Return the circuits that are open, up to ``limit``."""
        return [circuits.circuit_from_row(row) for row in self._all(circuits.LIST, (limit,))]

    def endpoint(self, name: str) -> Endpoint | None:
        """Return an endpoint, a deleted one too."""
        row = self._one(registry.SELECT_ENDPOINT, (name,))
        return None if row is None else registry.endpoint_from_row(row)

    def list_endpoints(self, namespace: str, after: str, limit: int) -> Sequence[Endpoint]:
        """Return endpoints that are not deleted, by name; of all namespaces when namespace is empty."""
        if namespace:
            rows = self._all(registry.LIST_ENDPOINTS_OF_NAMESPACE, (after, namespace, limit))
        else:
            rows = self._all(registry.LIST_ENDPOINTS, (after, limit))
        return [registry.endpoint_from_row(row) for row in rows]

    def list_every_endpoint(self, after: str, limit: int) -> Sequence[Endpoint]:
        """Return endpoints by name, deleted ones too."""
        rows = self._all(registry.LIST_EVERY_ENDPOINT, (after, limit))
        return [registry.endpoint_from_row(row) for row in rows]

    def list_draining_endpoints(self, after: str, limit: int) -> Sequence[Endpoint]:
        """Return endpoints that take no new operations, by name."""
        rows = self._all(registry.LIST_DRAINING, (after, limit))
        return [registry.endpoint_from_row(row) for row in rows]

    def is_retention_due(self, endpoint: str, closed_until: datetime) -> bool:
        """Whether an endpoint may have operations to retire that closed until a moment."""
        return retention.is_due(self._one, endpoint, closed_until)

    def namespace(self, name: str) -> Namespace | None:
        """Return a namespace."""
        row = self._one(registry.SELECT_NAMESPACE, (name,))
        return None if row is None else registry.namespace_from_row(row)

    def list_namespaces(self, after: str, limit: int) -> Sequence[Namespace]:
        """Return namespaces by name."""
        return [
            registry.namespace_from_row(row) for row in self._all(registry.LIST_NAMESPACES, (after, limit))
        ]

    def keyset(self, namespace: str) -> StoredKeyset | None:
        """Return the newest keyset of a namespace: that of the highest version."""
        row = self._one(registry.SELECT_KEYSET, (namespace, 1))
        return None if row is None else registry.keyset_from_row(row)

    def endpoint_records(self, endpoint: str, namespace: str, limit: int) -> Sequence[StoredEndpointRecord]:
        """Return the records that a namespace signed about an endpoint, the newest first."""
        rows = self._all(registry.SELECT_ENDPOINT_RECORDS, (endpoint, namespace, limit))
        return [registry.endpoint_record_from_row(row) for row in rows]

    def sealed_messages(self, namespace: str, after: str, most: int) -> SealedPage:
        """Return the beginnings of what belongs to so many operations and events of a namespace."""
        connection = self._connection
        return sealed_messages.page(
            self._all, lambda query, rows: query.select(connection, rows), namespace, after, most
        )

    def list_key_holders(self, namespace: str, after: bytes, limit: int) -> Sequence[KeyHolder]:
        """Return holders of a namespace, by id, from beyond an id."""
        rows = self._all(key_holders.LIST, (namespace, after, limit))
        return [key_holders.holder_from_row(row) for row in rows]

    def cursor(self, namespace: str, name: str) -> Cursor | None:
        """Return a cursor of a namespace's feed."""
        row = self._one(feed.SELECT, (feed.cursor_id(namespace, name),))
        return None if row is None else feed.cursor_from_row(row)

    def list_cursors(self, namespace: str, limit: int) -> Sequence[Cursor]:
        """Return the cursors of a namespace, by name."""
        return [feed.cursor_from_row(row) for row in self._all(feed.LIST, (namespace, limit))]

    def published_event(self, reader: str, publisher: str, event_id: bytes) -> PublishedEvent | None:
        """Return an event that a namespace published for another one."""
        row = self._one(feed.SELECT_EVENT, (feed.event_key(reader, publisher, event_id),))
        return None if row is None else feed.event_from_row(row)

    def feed_records(self, namespace: str, after: int, limit: int) -> Sequence[FeedRecord]:
        """Return audit records in which a namespace is the caller, oldest first, from beyond a position."""
        parameters = feed.record_parameters(namespace, after, limit)
        return [feed.record_from_row(row) for row in self._all(feed.SELECT_RECORDS, parameters)]

    def audit_events(self, wanted: AuditFilter) -> Sequence[StoredAuditEvent]:
        """Return a page of the audit log."""
        return audit_events.events(self._all(*audit_events.page(wanted)))

    def last_audit_position(self) -> int:
        """Return the position of the newest audit record, 0 when there is none."""
        row = self._one(audit_events.LAST_POSITION, ())
        return 0 if row is None else row[0] or 0

    def _find(self, key: OperationKey) -> StoredOperation | None:
        row = self._one(operations.SELECT, (key.operation_id, key.caller))
        return None if row is None else operations.from_row(row)

    def _one(self, query: str, parameters: Row) -> Row | None:
        row: Row | None = self._connection.execute(query, parameters).fetchone()
        return row

    def _all(self, query: str, parameters: Row) -> list[Row]:
        return self._connection.execute(query, parameters).fetchall()
