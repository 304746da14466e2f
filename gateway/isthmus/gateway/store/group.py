"""Commands that share one commit.

A command's writes stay in memory until it returns; then they join those of the group, or, if it raised, they
are dropped, and the others never notice. What the group wrote goes to the database at the end, in one
statement a table and kind, or earlier when a query has to see it: queries that scan tables cannot look into
buffers.
"""

from collections.abc import Sequence
from datetime import datetime

from isthmus.gateway.core.identity import Identity
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.ports import Retired, Signal
from isthmus.gateway.store import audit_events, operations, retention
from isthmus.gateway.store.changes import Changes, Known
from isthmus.gateway.store.driver import Connection
from isthmus.gateway.store.flush import Sequences, write_changes
from isthmus.gateway.store.moments import to_microseconds
from isthmus.gateway.store.operations import Ident, StoredOperation
from isthmus.gateway.store.statements import Row


class Group:
    """One transaction of many commands. The caller begins it, commits it, or rolls it back."""

    def __init__(self, connection: Connection, sequences: Sequences, known: Known) -> None:
        self.connection = connection
        self.sequences = sequences
        self.known = known
        self.signals: list[Signal] = []
        self.has_audit = False
        self.pending = Changes()
        self.asked_for: list[OperationKey] = []
        """Operations that a command asked for and the group had not looked up before."""
        # Rows of the log, in its order, that the end of the transaction writes.
        self.log: list[Row] = []

    def look_up(self, keys: Sequence[OperationKey]) -> None:
        """Find operations in one query: every statement has to win the interpreter's lock back."""
        known = self.known.operations
        idents: dict[Ident, StoredOperation | None] = {
            ident: None for ident in ((key.caller, key.operation_id) for key in keys) if ident not in known
        }
        for row in operations.SELECT_MANY_FOR_CHANGE.select(
            self.connection, [(oid, caller) for caller, oid in idents]
        ):
            stored = operations.from_row(row)
            idents[stored.operation.key.caller, stored.operation.key.operation_id] = stored
        known.update(idents)
        missing = [ident for ident, found in idents.items() if found is None]
        if not missing:
            return
        # Found out now, after the operations were looked up, for all of them: no command asks again.
        if self.sequences.has_identities:
            self._look_up_identities(missing)
        else:
            self.known.identities.update(dict.fromkeys(missing))

    def _look_up_identities(self, idents: Sequence[Ident]) -> None:
        found: dict[Ident, Identity | None] = dict.fromkeys(idents)
        rows = [(operation_id, caller) for caller, operation_id in idents]
        for row in retention.SELECT_MANY.select(self.connection, rows):
            identity = retention.from_row(row)
            found[identity.key.caller, identity.key.operation_id] = identity
        self.known.identities.update(found)

    def add(self, changes: Changes, signals: list[Signal]) -> None:
        """Take over what a command wrote."""
        self.pending.add(changes)
        self.signals += signals

    def flush(self) -> None:
        """Carry to the transaction what the commands wrote so far."""
        if self.pending:
            self.log += write_changes(self.connection, self.pending, self.known, self.sequences)
            self.known.learn(self.pending)
            self.pending = Changes()

    def finish(self) -> None:
        """Carry to the transaction what is left: the commit comes next.

        What is numbered in the order of commits comes last, after ``begin_commit_order``.
        """
        self.flush()
        self.write_log(self.log)

    def write_log(self, rows: list[Row]) -> None:
        """Append rows to the log in the database, and forget them here."""
        if rows:
            self.begin_commit_order()
            audit_events.INSERT.run(self.connection, rows)
            rows.clear()

    def begin_commit_order(self) -> None:
        """Let no other gateway commit anything numbered until this transaction has ended.

        A sequence alone gives places when they are asked for, and transactions become visible when they
        commit: a reader that goes on from the last place that it saw would skip the slower one. Whatever
        has readers like that (the audit log; any feed with a cursor) draws its numbers after this call, as
        the last statements before the commit. The embedded store is alone: there it says nothing.
        """

    def begin_counting(self) -> None:
        """Let no other gateway count open operations, to start one, until this transaction has ended.

        Two that count at the same moment would both find room for the last one. The embedded store is alone:
        there it says nothing.
        """

    def may_lease(self, session_id: bytes) -> bool:  # noqa: ARG002 - other stores have to look
        """Whether a session is there, and stays until this transaction has ended.

        The embedded store is alone: nobody else could have lost it.
        """
        return True

    def settle_shared(self) -> None:
        """Make sure that nobody else writes to registry and circuits until this transaction has ended.

        Called when a command that wrote to them returned. The embedded store is alone: there it says nothing.

        Raises:
            LostRaceError: what the command read may have been changed meanwhile.
        """


class Buffer:
    """The writes of the one command that runs, above what its group knows.

    A scan needs the writes of the command itself in the database too. They are then written behind a
    savepoint, and from there on the command knows only what the database says: rolling back to the savepoint
    undoes all of it.
    """

    __slots__ = ("_group", "_has_savepoint", "_log", "changes", "has_audit", "known", "pending", "signals")

    def __init__(self, group: Group) -> None:
        self._group = group
        self._has_savepoint = False
        self._log: list[Row] = []
        self.has_audit = False
        self.known = group.known
        self.pending = group.pending
        self.changes = Changes()
        self.signals: list[Signal] = []

    def next_position(self) -> int:
        """Return the place of a new operation."""
        return self._group.sequences.next_position()

    def select_one(self, query: str, parameters: Row) -> Row | None:
        """Return the row that a query finds by key. Buffered changes are the caller's business."""
        row: Row | None = self._group.connection.execute(query, parameters).fetchone()
        return row

    def select_operation(self, key: OperationKey) -> Row | None:
        """Return the row of an operation, which nobody else writes to until the transaction has ended."""
        # Noted first: another gateway may have it, and the next run of the group waits for it.
        self._group.asked_for.append(key)
        return self.select_one(operations.SELECT_FOR_CHANGE, (key.operation_id, key.caller))

    @property
    def has_identities(self) -> bool:
        """Whether any operation was ever retired."""
        return self._group.sequences.has_identities

    def begin_counting(self) -> None:
        """Let nobody else start operations where they are counted until the transaction has ended."""
        self._group.begin_counting()

    def may_lease(self, session_id: bytes) -> bool:
        """Whether a session is there, and stays until the transaction has ended."""
        return self._group.may_lease(session_id)

    def retire(self, endpoint: str, closed_until: datetime, limit: int) -> Retired:
        """Make identities of closed operations: in the database at once, it is many rows and rare."""
        retired, gone = retention.retire(self._written(), endpoint, closed_until, limit)
        for ident in gone:
            self.known.operations.pop(ident, None)
            self.known.identities.pop(ident, None)
        if gone:
            self._group.sequences.note_identities()
        return retired

    def forget_identities(self, closed_until: datetime, limit: int) -> int:
        """Delete identities, and return how many."""
        connection = self._written()
        rows = connection.execute(
            retention.SELECT_FORGOTTEN, (to_microseconds(closed_until), limit)
        ).fetchall()
        retention.DELETE_IDENTITIES.run(connection, [(position,) for position, _, _ in rows])
        for _, caller, operation_id in rows:
            self.known.identities.pop((caller, operation_id), None)
        return len(rows)

    def scan(self, query: str, parameters: Row) -> list[Row]:
        """Return the rows of a query that sees every change so far."""
        self._group.flush()
        self.pending = self._group.pending
        if self.changes:
            self._write_behind_savepoint()
        return self._group.connection.execute(query, parameters).fetchall()

    def keep(self) -> None:
        """Hand the writes to the group: the command returned."""
        if self.changes.is_registry_changed or self.changes.circuits:
            self._group.settle_shared()
        if self._has_savepoint:
            self._group.connection.execute("RELEASE command")
            self._group.known = self.known
            self._group.log += self._log
        self._group.has_audit |= self.has_audit
        self._group.add(self.changes, self.signals)

    def drop(self) -> None:
        """Forget the writes: the command raised."""
        if self._has_savepoint:
            self._group.connection.execute("ROLLBACK TO command")
            self._group.connection.execute("RELEASE command")

    def _written(self) -> Connection:
        """Return the connection with all changes so far, records of the log among them.

        What follows is undone if the command raises.
        """
        self._group.finish()
        self.pending = self._group.pending
        self._begin_savepoint()
        if self.changes:
            self._write_behind_savepoint()
        self._group.write_log(self._log)
        return self._group.connection

    def _begin_savepoint(self) -> None:
        if not self._has_savepoint:
            self._group.connection.execute("SAVEPOINT command")
            self._has_savepoint = True

    def _write_behind_savepoint(self) -> None:
        if self.changes.is_registry_changed or self.changes.circuits:
            self._group.settle_shared()
        self._begin_savepoint()
        self._log += write_changes(self._group.connection, self.changes, self.known, self._group.sequences)
        # Counts are dear to find out again, unlike the rest.
        known = Known(open_counts=dict(self.known.open_counts))
        known.learn_counts(self.changes)
        self.changes = Changes()
        self.known = known
