"""Transactions of the embedded store's one writer."""

import logging
import sqlite3
from collections.abc import Callable, Sequence

from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.store import audit_events, operations, retention
from isthmus.gateway.store.changes import CallerLine, Known
from isthmus.gateway.store.group import Group
from isthmus.gateway.store.operations import Ident, StoredOperation

_logger = logging.getLogger(__name__)

# An operation is written twice as a rule, within moments: what was just written need not be read back.
MOST_RECENT_OPERATIONS = 4096


class SqliteSequences:
    """``flush.Sequences`` of the only writer: it counts by itself."""

    __slots__ = ("_last_position", "_recorded_at", "has_identities")

    def __init__(self, connection: sqlite3.Connection) -> None:
        # A retired operation leaves its place to the audit records that are filed under it.
        self._last_position = max(
            _number(connection, operations.LAST_POSITION),
            _number(connection, audit_events.LAST_OPERATION_POSITION),
        )
        self._recorded_at = _number(connection, audit_events.LAST_RECORDED_AT)
        self.has_identities = _number(connection, retention.SELECT_FIRST_END) > 0

    def note_identities(self) -> None:
        """Something was retired."""
        self.has_identities = True

    def next_position(self) -> int:
        """Return a place behind every operation."""
        self._last_position += 1
        return self._last_position

    def record_at(self, occurred_at: int) -> int:
        """Return the time of the log for an event: never before that of the event before it. Microseconds."""
        self._recorded_at = max(self._recorded_at, occurred_at)
        return self._recorded_at


def _number(connection: sqlite3.Connection, query: str) -> int:
    (number,) = connection.execute(query).fetchone()
    return number or 0


class SqliteTransactions:
    """``transactions.Transactions`` on a database file that nobody else writes to.

    So what a group knew of operations and counts is true for the next one, too. After an error the next
    group begins on a new connection: one that met an error of the disk is not asked again.
    """

    errors: tuple[type[Exception], ...] = (sqlite3.Error,)
    lost_races: tuple[type[Exception], ...] = ()
    # Text that is no Unicode is a ValueError, a number above 64 bits an OverflowError.
    unstorable: tuple[type[Exception], ...] = (
        sqlite3.IntegrityError,
        sqlite3.InterfaceError,
        sqlite3.ProgrammingError,
        sqlite3.DataError,
        OverflowError,
        TypeError,
        ValueError,
    )

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._sequences: SqliteSequences | None = None
        self._recent: dict[Ident, StoredOperation | None] = {}
        self._open_counts: dict[CallerLine, int] = {}

    def connect(self) -> None:
        """Connect, unless it is connected."""
        self._connected()

    def begin(
        self,
        commands: int,  # noqa: ARG002 - places cost nothing here
        reads: Sequence[OperationKey],
        scopes: frozenset[str],  # noqa: ARG002 - nobody else writes
    ) -> Group:
        """Begin a transaction and look up operations."""
        connection, sequences = self._connected()
        connection.execute("BEGIN IMMEDIATE")
        group = Group(connection, sequences, Known(self._recent, self._open_counts))
        group.look_up(reads)
        return group

    def commit(self, group: Group, *, prove: bool) -> None:
        """Commit what the group wrote."""
        connection, _ = self._connected()
        group.finish()
        if prove:
            _write_anyway(connection)
        connection.execute("COMMIT")
        self._open_counts = group.known.open_counts
        self._recent = group.known.recent_operations(MOST_RECENT_OPERATIONS)

    def abandon(self) -> None:
        """Roll back, by closing."""
        self.disconnect()
        self._recent = {}
        self._open_counts = {}

    def disconnect(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:
                _logger.exception("the connection of the writer does not close")

    def _connected(self) -> tuple[sqlite3.Connection, SqliteSequences]:
        if self._connection is None or self._sequences is None:
            connection = self._connect()
            self._sequences = SqliteSequences(connection)
            self._connection = connection
        return self._connection, self._sequences


def _write_anyway(connection: sqlite3.Connection) -> None:
    """Write the header of the database as it is: a commit of nothing succeeds on a full disk, too."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute(f"PRAGMA user_version = {version}")
