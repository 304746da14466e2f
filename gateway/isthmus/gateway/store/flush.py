"""Carry buffered changes to the database, in as few statements as they need."""

from typing import Protocol

from isthmus.gateway.store import (
    audit_events,
    circuits,
    feed,
    key_holders,
    operation_tokens,
    operations,
    registry,
    tasks,
)
from isthmus.gateway.store.audit_events import PendingEvent
from isthmus.gateway.store.changes import Changes, Known
from isthmus.gateway.store.driver import Connection
from isthmus.gateway.store.statements import Row


class Sequences(Protocol):
    """What is counted for every commit: places of operations, and the time of the log.

    A group that fails leaves gaps between places and the time ahead; neither matters.
    """

    @property
    def has_identities(self) -> bool:
        """Whether something was retired: until then, nobody has to look whether it was."""
        ...

    def note_identities(self) -> None:
        """Something was retired."""
        ...

    def next_position(self) -> int:
        """Return a place behind every operation."""
        ...

    def record_at(self, occurred_at: int) -> int:
        """Return the time of the log for an event: never before that of the event before it. Microseconds."""
        ...


def write_changes(connection: Connection, changes: Changes, known: Known, sequences: Sequences) -> list[Row]:
    """Write all changes in the open transaction but the audit records, whose rows are returned.

    They are the last thing that a transaction writes: see ``Group.finish``.
    """
    if changes.operations:
        _write_operations(connection, changes)
    if changes.envelopes:
        operations.PUT_ENVELOPE.run(connection, list(changes.envelopes.items()))
    if changes.tasks:
        _write_tasks(connection, changes)
    if changes.sessions:
        _write_sessions(connection, changes)
    if changes.tokens:
        operation_tokens.PUT.run(
            connection, [(position, *found_by) for position, found_by in changes.tokens.items()]
        )
    if changes.circuits:
        _write_circuits(connection, changes)
    if changes.cursors:
        _write_cursors(connection, changes)
    if changes.events:
        _write_events(connection, changes)
    if changes.key_holders:
        _write_key_holders(connection, changes)
    if changes.is_registry_changed:
        _write_registry(connection, changes)
    return [
        audit_events.insert_row(
            event,
            sequences.record_at(event.occurred_at),
            _find_operation(connection, event, changes, known),
        )
        for event in changes.audit
    ]


def _write_operations(connection: Connection, changes: Changes) -> None:
    new: list[Row] = []
    changed: list[Row] = []
    for stored in changes.operations.values():
        if stored.position in changes.new_operations:
            new.append(operations.insert_row(stored.position, stored.operation))
        else:
            changed.append(operations.update_row(stored.position, stored.operation))
    operations.INSERT.run(connection, new)
    operations.UPDATE.run(connection, changed)


def _write_tasks(connection: Connection, changes: Changes) -> None:
    put: list[Row] = []
    removed: list[Row] = []
    for identity, task in changes.tasks.items():
        if task is None:
            removed.append((identity,))
        else:
            put.append(tasks.task_row(identity, task))
    tasks.REMOVE.run(connection, removed)
    tasks.PUT.run(connection, put)


def _write_sessions(connection: Connection, changes: Changes) -> None:
    removed = [(session_id,) for session_id, session in changes.sessions.items() if session is None]
    put = [tasks.session_row(session) for session in changes.sessions.values() if session is not None]
    tasks.REMOVE_SESSION.run(connection, removed)
    tasks.PUT_SESSION.run(connection, put)


def _write_circuits(connection: Connection, changes: Changes) -> None:
    removed = [(circuits.circuit_id(line),) for line, circuit in changes.circuits.items() if circuit is None]
    put = [circuits.circuit_row(circuit) for circuit in changes.circuits.values() if circuit is not None]
    circuits.REMOVE.run(connection, removed)
    circuits.PUT.run(connection, put)


def _write_cursors(connection: Connection, changes: Changes) -> None:
    removed = [(feed.cursor_id(*name),) for name, cursor in changes.cursors.items() if cursor is None]
    put = [feed.cursor_row(cursor) for cursor in changes.cursors.values() if cursor is not None]
    feed.REMOVE.run(connection, removed)
    feed.PUT.run(connection, put)


def _write_events(connection: Connection, changes: Changes) -> None:
    removed = [(key,) for key, event in changes.events.items() if event is None]
    put = [feed.event_row(event) for event in changes.events.values() if event is not None]
    feed.REMOVE_EVENT.run(connection, removed)
    feed.PUT_EVENT.run(connection, put)


def _write_key_holders(connection: Connection, changes: Changes) -> None:
    holders = changes.key_holders
    removed = [(key_holders.holder_key(name),) for name, holder in holders.items() if holder is None]
    put = [key_holders.holder_row(holder) for holder in holders.values() if holder is not None]
    key_holders.REMOVE.run(connection, removed)
    key_holders.PUT.run(connection, put)


def _write_registry(connection: Connection, changes: Changes) -> None:
    registry.INSERT_NAMESPACE.run(connection, [*map(registry.namespace_row, changes.namespaces.values())])
    registry.PUT_ENDPOINT.run(connection, [*map(registry.endpoint_row, changes.endpoints.values())])
    registry.PUT_KEYSET.run(connection, [*map(registry.keyset_row, changes.keysets.values())])
    registry.PUT_ENDPOINT_RECORD.run(
        connection, [*map(registry.endpoint_record_row, changes.endpoint_records)]
    )


def _find_operation(
    connection: Connection, event: PendingEvent, changes: Changes, known: Known
) -> int | None:
    """Return the position of the operation that an event is about, None when no operation has that key."""
    key = event.index.operation
    if key is None:
        return None
    ident = (key.caller, key.operation_id)
    stored = changes.operations.get(ident) or known.operations.get(ident)
    if stored is not None:
        return stored.position
    row = connection.execute(operations.SELECT, (key.operation_id, key.caller)).fetchone()
    return None if row is None else operations.from_row(row).position
