"""What a command sees: reads through three layers, writes into its own buffer.

The layers are the command's own writes, those of its group, what the group knows, and the database.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from operator import itemgetter
from typing import Final, TypeVar

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.core.audit_record import AuditRecord
from isthmus.gateway.core.circuit import Circuit, Line
from isthmus.gateway.core.errors import AlreadyExistsError, NotFoundError, PreconditionError
from isthmus.gateway.core.feed import Cursor, PublishedEvent
from isthmus.gateway.core.identity import Identity
from isthmus.gateway.core.operation import Operation, OperationKey
from isthmus.gateway.ports import (
    EnvelopeSlot,
    Namespace,
    QueueKey,
    Retired,
    Signal,
    StoredKeyset,
    Task,
    TaskKind,
    WorkerSession,
)
from isthmus.gateway.store import audit_events, circuits, feed, operations, registry, retention, tasks
from isthmus.gateway.store.endpoint_records import EndpointRecords
from isthmus.gateway.store.key_holder_unit import BufferedKeyHolders
from isthmus.gateway.store.moments import to_microseconds
from isthmus.gateway.store.operations import MOST_COUNTED, StoredOperation
from isthmus.gateway.store.statements import Query, Row
from isthmus.wire.limits import MAX_CALLER_CONTEXTS
from isthmus.wire.names import format_operation_id


class _Missing(Enum):
    """What a layer answers that knows nothing, not even that there is nothing."""

    MISSING = 0


_MISSING: Final = _Missing.MISSING
_FIRST: Final[Callable[[Row], bytes]] = itemgetter(0)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BufferedUnitOfWork(BufferedKeyHolders, EndpointRecords):
    """``ports.UnitOfWork`` over a buffer. It is of no use after its command returned."""

    __slots__ = ()

    def _look_up(  # noqa: PLR0917 - keywords would cost more than the look-up
        self,
        own: Mapping[K, V] | Mapping[K, V | None],
        pending: Mapping[K, V] | Mapping[K, V | None],
        known: dict[K, V | None],
        identity: K,
        query: Query,
        parameters: Row,
        from_row: Callable[[Row], V],
    ) -> V | None:
        """Ask one layer after the other; what the database says is known from then on."""
        found = own.get(identity, _MISSING)
        if found is not _MISSING:
            return found
        found = pending.get(identity, _MISSING)
        if found is not _MISSING:
            return found
        found = known.get(identity, _MISSING)
        if found is not _MISSING:
            return found
        row = self._buffer.select_one(query, parameters)
        loaded = None if row is None else from_row(row)
        known[identity] = loaded
        return loaded

    # --- operations -----------------------------------------------------------------------------------------

    def operation(self, key: OperationKey) -> Operation | None:
        """Return the operation, with every change so far."""
        stored = self._find(key)
        return None if stored is None else stored.operation

    def insert_operation(self, operation: Operation, request: bytes) -> None:
        """Add an operation that does not exist, with its sealed request.

        Raises:
            AlreadyExistsError: it exists.
        """
        if self._find(operation.key) is not None:
            raise AlreadyExistsError(f"operation {format_operation_id(operation.key.operation_id)} exists")
        changes = self._buffer.changes
        position = self._buffer.next_position()
        key = operation.key
        changes.operations[key.caller, key.operation_id] = StoredOperation(
            position=position, operation=operation
        )
        changes.new_operations.add(position)
        changes.envelopes[operations.envelope_id(position, EnvelopeSlot.REQUEST)] = request
        if not operation.state.is_terminal:
            self._count_open(operation, 1)

    def update_operation(self, operation: Operation) -> None:
        """Replace an operation that exists.

        Raises:
            NotFoundError: it does not exist.
            PreconditionError: something differs that an operation is born with.
        """
        before = self._get(operation.key)
        if operations.changes_its_birth(before.operation, operation):
            raise PreconditionError("identity, route, request and timeouts of an operation never change")
        key = operation.key
        self._buffer.changes.operations[key.caller, key.operation_id] = StoredOperation(
            position=before.position, operation=operation
        )
        was_open = not before.operation.state.is_terminal
        is_open = not operation.state.is_terminal
        if was_open != is_open:
            self._count_open(operation, 1 if is_open else -1)

    def envelope(self, key: OperationKey, slot: EnvelopeSlot) -> bytes | None:
        """Return a sealed message."""
        stored = self._find(key)
        if stored is None:
            return None
        identity = operations.envelope_id(stored.position, slot)
        buffer = self._buffer
        own, pending, known = buffer.changes.envelopes, buffer.pending.envelopes, buffer.known.envelopes
        return self._look_up(own, pending, known, identity, operations.SELECT_ENVELOPE, (identity,), _FIRST)

    def put_envelope(self, key: OperationKey, slot: EnvelopeSlot, envelope: bytes) -> None:
        """Write a sealed message, replacing the one in that slot.

        Raises:
            NotFoundError: the operation does not exist.
        """
        identity = operations.envelope_id(self._get(key).position, slot)
        self._buffer.changes.envelopes[identity] = envelope

    def contexts(self, key: OperationKey) -> Sequence[bytes]:
        """Return what the caller sealed to itself at its starts, as they came."""
        stored = self._find(key)
        if stored is None:
            return ()
        buffer = self._buffer
        own, pending, known = buffer.changes.envelopes, buffer.pending.envelopes, buffer.known.envelopes
        found: list[bytes] = []
        while len(found) < MAX_CALLER_CONTEXTS:
            identity = operations.context_id(stored.position, len(found))
            context = self._look_up(
                own, pending, known, identity, operations.SELECT_ENVELOPE, (identity,), _FIRST
            )
            if context is None:
                break
            found.append(context)
        return found

    def put_context(self, key: OperationKey, number: int, context: bytes) -> None:
        """Write the n-th context of an operation, from 0.

        Raises:
            NotFoundError: the operation does not exist.
        """
        identity = operations.context_id(self._get(key).position, number)
        self._buffer.changes.envelopes[identity] = context

    def signal_envelope(self, key: OperationKey, number: int) -> bytes | None:
        """Return the n-th sealed signal of an operation, from 1."""
        stored = self._find(key)
        if stored is None:
            return None
        identity = operations.signal_envelope_id(stored.position, number)
        buffer = self._buffer
        own, pending, known = buffer.changes.envelopes, buffer.pending.envelopes, buffer.known.envelopes
        return self._look_up(own, pending, known, identity, operations.SELECT_ENVELOPE, (identity,), _FIRST)

    def put_signal_envelope(self, key: OperationKey, number: int, envelope: bytes) -> None:
        """Write the n-th sealed signal of an operation.

        Raises:
            NotFoundError: the operation does not exist.
        """
        identity = operations.signal_envelope_id(self._get(key).position, number)
        self._buffer.changes.envelopes[identity] = envelope

    def put_operation_token(self, key: OperationKey, token_key: bytes) -> None:
        """Let an operation be found by its token.

        Raises:
            NotFoundError: the operation does not exist.
        """
        stored = self._get(key)
        self._buffer.changes.tokens[stored.position] = (stored.operation.handler, token_key)

    def overdue_operations(self, now: datetime, limit: int) -> Sequence[OperationKey]:
        """Return open operations whose next timeout has elapsed, longest overdue first."""
        rows = self._buffer.scan(operations.SELECT_OVERDUE, (to_microseconds(now), limit))
        return [operations.key_from_row(row) for row in rows]

    def count_open_operations(self, endpoint: str) -> int:
        """Return how many operations of an endpoint are not terminal, counting no further than 1000."""
        ((counted,),) = self._buffer.scan(operations.COUNT_OPEN, (endpoint, MOST_COUNTED))
        return int(counted)

    def count_open_operations_of(self, endpoint: str, caller: str) -> int:
        """Return how many operations of a caller at an endpoint are not terminal, exactly."""
        buffer, line = self._buffer, (endpoint, caller)
        counted = buffer.known.open_counts.get(line)
        if counted is None:
            buffer.begin_counting()
            ((counted,),) = buffer.scan(operations.COUNT_OPEN_OF_CALLER, line)
            # The scan saw all that was buffered: nothing is to be added.
            buffer.known.open_counts[line] = counted
            return int(counted)
        return counted + buffer.pending.opened.get(line, 0) + buffer.changes.opened.get(line, 0)

    def _count_open(self, operation: Operation, difference: int) -> None:
        opened, line = self._buffer.changes.opened, (operation.endpoint, operation.key.caller)
        opened[line] = opened.get(line, 0) + difference

    def _find(self, key: OperationKey) -> StoredOperation | None:
        """``_look_up``, written out: a command asks for its operation again and again."""
        ident = (key.caller, key.operation_id)
        buffer = self._buffer
        own = buffer.changes.operations.get(ident) or buffer.pending.operations.get(ident)
        if own is not None:
            return own
        operations_known = buffer.known.operations
        found = operations_known.get(ident, _MISSING)
        if found is not _MISSING:
            return found
        row = buffer.select_operation(key)
        stored = operations_known[ident] = None if row is None else operations.from_row(row)
        return stored

    def _get(self, key: OperationKey) -> StoredOperation:
        stored = self._find(key)
        if stored is None:
            raise NotFoundError(f"operation {format_operation_id(key.operation_id)} does not exist")
        return stored

    # --- retention ------------------------------------------------------------------------------------------

    def identity(self, key: OperationKey) -> Identity | None:
        """Return what stays of a retired operation."""
        buffer = self._buffer
        known, ident = buffer.known.identities, (key.caller, key.operation_id)
        found = known.get(ident, _MISSING)
        if found is not _MISSING:
            return found
        if not buffer.has_identities:
            return None
        row = buffer.select_one(retention.SELECT, (key.operation_id, key.caller))
        identity = known[ident] = None if row is None else retention.from_row(row)
        return identity

    def retire_operations(self, endpoint: str, *, closed_until: datetime, limit: int) -> Retired:
        """Delete operations of an endpoint that closed until a moment, but for their identities."""
        return self._buffer.retire(endpoint, closed_until, limit)

    def forget_identities(self, *, closed_until: datetime, limit: int) -> int:
        """Delete identities of operations that closed until a moment; return how many."""
        return self._buffer.forget_identities(closed_until, limit)

    # --- tasks and worker sessions --------------------------------------------------------------------------

    def put_task(self, task: Task) -> None:
        """Add a task or replace the one of the same operation and kind.

        Raises:
            NotFoundError: the operation does not exist.
        """
        self._buffer.changes.tasks[tasks.task_id(self._get(task.key).position, task.kind)] = task

    def task(self, key: OperationKey, kind: TaskKind) -> Task | None:
        """Return the task of an operation."""
        stored = self._find(key)
        if stored is None:
            return None
        identity = tasks.task_id(stored.position, kind)
        buffer = self._buffer
        own, pending, known = buffer.changes.tasks, buffer.pending.tasks, buffer.known.tasks
        return self._look_up(own, pending, known, identity, tasks.SELECT, (identity,), tasks.task_from_row)

    def remove_task(self, key: OperationKey, kind: TaskKind) -> None:
        """Remove a task, if it is there."""
        stored = self._find(key)
        if stored is not None:
            self._buffer.changes.tasks[tasks.task_id(stored.position, kind)] = None

    def callers_in_line(self, queue: QueueKey, now: datetime, *, after: str, limit: int) -> Sequence[str]:
        """Return callers with a task in the queue that could go out now, those behind ``after`` first."""
        query = tasks.SELECT_CALLERS_IN_LINE
        rows = self._buffer.scan(query, tasks.in_line_parameters(queue, now, limit, after=after))
        if after and len(rows) < limit:
            around = tasks.in_line_parameters(queue, now, limit - len(rows), until=after)
            rows += self._buffer.scan(query, around)
        return [caller for (caller,) in rows]

    def ready_tasks(self, queue: QueueKey, caller: str, now: datetime, limit: int) -> Sequence[Task]:
        """Return a caller's tasks in the queue that could go out now, in the order they became ready."""
        rows = self._buffer.scan(tasks.SELECT_READY, tasks.ready_parameters(queue, caller, now, limit))
        return [tasks.task_from_row(row) for row in rows]

    def tasks_ahead(
        self, queue: QueueKey, caller: str, now: datetime, limit: int, *, after: Task | None
    ) -> Sequence[tuple[Task, Operation]]:
        """Return ``ready_tasks`` from behind a task on, each with its operation."""
        place = None
        if after is not None:
            stored = self._find(after.key)
            place = tasks.place_of(None if stored is None else stored.position, after)
        rows = self._buffer.scan(tasks.SELECT_AHEAD, tasks.ahead_parameters(queue, caller, now, limit, place))
        return [tasks.with_operation(row) for row in rows]

    def session_tasks(self, session_id: bytes) -> Sequence[Task]:
        """Return the tasks that a session leased, oldest operation first."""
        rows = self._buffer.scan(tasks.SELECT_OF_SESSION, (session_id,))
        return [tasks.task_from_row(row) for row in rows]

    def worker_session(self, session_id: bytes) -> WorkerSession | None:
        """Return a session."""
        buffer = self._buffer
        own, pending, known = buffer.changes.sessions, buffer.pending.sessions, buffer.known.sessions
        parameters = (session_id,)
        return self._look_up(
            own, pending, known, session_id, tasks.SELECT_SESSION, parameters, tasks.session_from_row
        )

    def may_lease(self, session_id: bytes) -> bool:
        """Whether tasks may be leased to a session, as far as others know of it."""
        return self._buffer.may_lease(session_id)

    def put_worker_session(self, session: WorkerSession) -> None:
        """Add or replace a session."""
        self._buffer.changes.sessions[session.session_id] = session

    def remove_worker_session(self, session_id: bytes) -> None:
        """Forget a session."""
        self._buffer.changes.sessions[session_id] = None

    def present_versions(self, queue: QueueKey, now: datetime) -> Mapping[str, int]:
        """Return how many sessions of each version have a lease on the queue that did not run out."""
        rows = self._buffer.scan(tasks.SELECT_PRESENT_VERSIONS, tasks.present_parameters(queue, now))
        return dict(rows)

    def expired_sessions(self, now: datetime, limit: int) -> Sequence[WorkerSession]:
        """Return sessions whose lease ran out, longest ago first."""
        rows = self._buffer.scan(tasks.SELECT_EXPIRED_SESSIONS, (to_microseconds(now), limit))
        return [tasks.session_from_row(row) for row in rows]

    # --- circuits -------------------------------------------------------------------------------------------

    def circuit(self, line: Line) -> Circuit | None:
        """Return the circuit of a line; None: it is closed."""
        buffer = self._buffer
        own, pending, known = buffer.changes.circuits, buffer.pending.circuits, buffer.known.circuits
        parameters = (circuits.circuit_id(line),)
        return self._look_up(
            own, pending, known, line, circuits.SELECT, parameters, circuits.circuit_from_row
        )

    def put_circuit(self, circuit: Circuit) -> None:
        """Add or replace a circuit."""
        self._buffer.changes.circuits[circuit.line] = circuit

    def remove_circuit(self, line: Line) -> None:
        """Forget a circuit, if it is there."""
        self._buffer.changes.circuits[line] = None

    # --- registry -------------------------------------------------------------------------------------------

    def namespace(self, name: str) -> Namespace | None:
        """Return a namespace."""
        buffer = self._buffer
        own, pending, known = buffer.changes.namespaces, buffer.pending.namespaces, buffer.known.namespaces
        return self._look_up(
            own, pending, known, name, registry.SELECT_NAMESPACE, (name,), registry.namespace_from_row
        )

    def insert_namespace(self, namespace: Namespace) -> None:
        """Add a namespace that does not exist.

        Raises:
            AlreadyExistsError: it exists.
        """
        if self.namespace(namespace.name) is not None:
            raise AlreadyExistsError(f"namespace {namespace.name} exists")
        self._buffer.changes.namespaces[namespace.name] = namespace

    def endpoint(self, name: str) -> Endpoint | None:
        """Return an endpoint; a deleted one too, because its name stays reserved."""
        buffer = self._buffer
        own, pending, known = buffer.changes.endpoints, buffer.pending.endpoints, buffer.known.endpoints
        return self._look_up(
            own, pending, known, name, registry.SELECT_ENDPOINT, (name,), registry.endpoint_from_row
        )

    def put_endpoint(self, endpoint: Endpoint) -> None:
        """Add or replace an endpoint."""
        self._buffer.changes.endpoints[endpoint.name] = endpoint

    def keyset(self, namespace: str) -> StoredKeyset | None:
        """Return the newest keyset of a namespace: that of the highest version."""
        buffer = self._buffer
        own, pending, known = (
            buffer.changes.newest_keysets,
            buffer.pending.newest_keysets,
            buffer.known.keysets,
        )
        parameters = (namespace, 1)
        return self._look_up(
            own, pending, known, namespace, registry.SELECT_KEYSET, parameters, registry.keyset_from_row
        )

    def put_keyset(self, keyset: StoredKeyset) -> None:
        """Add a keyset, or what vouches for it anew; older versions are kept.

        Raises:
            PreconditionError: its version is lower than that of the newest.
        """
        newest = self.keyset(keyset.namespace)
        if newest is not None and newest.version > keyset.version:
            raise PreconditionError(
                f"keyset {keyset.version} of {keyset.namespace} is older than {newest.version}"
            )
        self._buffer.changes.keysets[keyset.namespace, keyset.version] = keyset
        self._buffer.changes.newest_keysets[keyset.namespace] = keyset

    # --- cursors --------------------------------------------------------------------------------------------

    def cursor(self, namespace: str, name: str) -> Cursor | None:
        """Return a cursor of a namespace's feed."""
        buffer, identity = self._buffer, (namespace, name)
        own, pending, known = buffer.changes.cursors, buffer.pending.cursors, buffer.known.cursors
        parameters = (feed.cursor_id(namespace, name),)
        return self._look_up(own, pending, known, identity, feed.SELECT, parameters, feed.cursor_from_row)

    def put_cursor(self, cursor: Cursor) -> None:
        """Add or replace a cursor."""
        self._buffer.changes.cursors[cursor.namespace, cursor.name] = cursor

    def remove_cursor(self, namespace: str, name: str) -> None:
        """Forget a cursor."""
        self._buffer.changes.cursors[namespace, name] = None

    def count_cursors(self, namespace: str) -> int:
        """Return how many cursors a namespace has."""
        ((counted,),) = self._buffer.scan(feed.COUNT, (namespace,))
        return int(counted)

    def published_event(self, reader: str, publisher: str, event_id: bytes) -> PublishedEvent | None:
        """Return an event that a namespace published for another one."""
        buffer, key = self._buffer, feed.event_key(reader, publisher, event_id)
        own, pending, known = buffer.changes.events, buffer.pending.events, buffer.known.events
        return self._look_up(own, pending, known, key, feed.SELECT_EVENT, (key,), feed.event_from_row)

    def put_event(self, event: PublishedEvent) -> None:
        """Add or replace an event."""
        key = feed.event_key(event.reader, event.publisher, event.event_id)
        self._buffer.changes.events[key] = event

    def forget_events(self, *, until: datetime, limit: int) -> int:
        """Delete events whose time was over at a moment, longest ago first; return how many."""
        rows = self._buffer.scan(feed.SELECT_EXPIRED_EVENTS, (to_microseconds(until), limit))
        self._buffer.changes.events.update((key, None) for (key,) in rows)
        return len(rows)

    # --- audit log and signals ------------------------------------------------------------------------------

    def append_audit(self, record: AuditRecord) -> None:
        """Append a record; its position follows the order of commits. The commit signals AuditAppended."""
        self._buffer.has_audit = True
        self._buffer.changes.audit.append(audit_events.encode(record))

    def signal(self, signal: Signal) -> None:
        """Tell this process something, after the commit and only then."""
        self._buffer.signals.append(signal)
