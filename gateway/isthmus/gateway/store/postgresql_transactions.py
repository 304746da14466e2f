"""Transactions of one gateway's writer, among those of other gateways.

They run READ COMMITTED and are serialized by locks, each held until the commit:

- Whoever asks for an operation locks its row, and so owns its tasks and envelopes as well. What a group is
  known to read is locked first and in one order, which is waited for; what comes later is not waited for
  (NOWAIT): the group rolls back, and its next run locks that first, too.
- Work that anybody may do (ready tasks, overdue operations, expired sessions) is taken with SKIP LOCKED: what
  another gateway is doing is not there.
- A session to which something is leased is locked against being lost.
- Commands that write to the registry, or to circuits, run again behind a lock that only one gateway has.
- An operation that two gateways start at once is refused by the unique index to the second one, which runs
  again and finds it.
- Starts where open operations are limited count behind a lock that is held until the commit. It is one for
  all callers: several would be taken in any order, and waited for in circles.
- Records of the log get their places behind a lock that is held until the commit (``begin_commit_order``).

Nothing is remembered from one group to the next: others write, too.
"""

import logging
from collections.abc import Callable, Sequence

import psycopg

from isthmus.gateway.core.errors import InDoubtError
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.store import retention, tasks
from isthmus.gateway.store.changes import Known
from isthmus.gateway.store.driver import LostRaceError
from isthmus.gateway.store.group import Group
from isthmus.gateway.store.postgresql_connection import PostgresqlConnection
from isthmus.gateway.store.postgresql_signals import CHANNEL, Sender
from isthmus.gateway.store.statements import Query

_logger = logging.getLogger(__name__)

_RETRY_AFTER_SECONDS = 1.0
SHARED = "shared"
# Any numbers that nobody else uses in this database.
_SCOPE_LOCKS = {SHARED: 7_310_001}
COMMIT_ORDER_LOCK = 7_310_002
_COUNTING_LOCK = 7_310_004

_LOCK = Query("", "SELECT pg_advisory_xact_lock(%s::bigint)")
_NEXT_POSITIONS = Query("", "SELECT nextval('operation_positions') FROM generate_series(1, %s::bigint)")
_NOTIFY = Query("", "SELECT pg_notify(%s::text, %s::text)")
_PROVE = Query("", "INSERT INTO meta VALUES ('proof', '') ON CONFLICT (name) DO UPDATE SET value = ''")


class PostgresqlSequences:
    """``flush.Sequences`` that the database counts for all gateways."""

    __slots__ = ("_commands", "_connection", "_recorded_at", "_reserved", "found_identities")

    def __init__(self, connection: PostgresqlConnection, commands: int, *, has_identities: bool) -> None:
        self._connection = connection
        self._commands = max(1, commands)
        self.found_identities = has_identities
        """Whether something is known to have been retired, without asking again."""
        self._reserved: list[int] = []
        self._recorded_at = 0

    @property
    def has_identities(self) -> bool:
        """Whether something was retired. Asked after the operations were looked up, never before."""
        if not self.found_identities:
            (first,) = self._connection.execute(retention.SELECT_FIRST_END).fetchone()
            self.found_identities = first is not None
        return self.found_identities

    def note_identities(self) -> None:
        """Something was retired."""
        self.found_identities = True

    def next_position(self) -> int:
        """Return a place: one for each command is asked for at once, so that places follow the time."""
        if not self._reserved:
            rows = self._connection.execute(_NEXT_POSITIONS, (self._commands,)).fetchall()
            self._reserved = sorted((position for (position,) in rows), reverse=True)
        return self._reserved.pop()

    def record_at(self, occurred_at: int) -> int:
        """Return the time of the log within this group; the INSERT compares with what others recorded."""
        self._recorded_at = max(self._recorded_at, occurred_at)
        return self._recorded_at


class PostgresqlGroup(Group):
    """A transaction beside those of other gateways."""

    def __init__(
        self, connection: PostgresqlConnection, sequences: PostgresqlSequences, scopes: frozenset[str]
    ) -> None:
        super().__init__(connection, sequences, Known())
        self._scopes = scopes
        self._has_commit_order = False
        self._is_counting = False
        self._sessions: dict[bytes, bool] = {}

    def begin_commit_order(self) -> None:
        """Let no other gateway commit anything numbered until this transaction has ended.

        NOTIFY, which wakes the other gateways, makes committing transactions wait for each other anyway.
        """
        if not self._has_commit_order:
            self.connection.execute(_LOCK, (COMMIT_ORDER_LOCK,))
            self._has_commit_order = True

    def begin_counting(self) -> None:
        """Wait until no other gateway counts: what it started is committed then, and seen from now on."""
        if not self._is_counting:
            self.connection.execute(_LOCK, (_COUNTING_LOCK,))
            self._is_counting = True

    def may_lease(self, session_id: bytes) -> bool:
        """Whether a session is there, and stays until this transaction has ended."""
        found = self._sessions.get(session_id)
        if found is None:
            row = self.connection.execute(tasks.HOLD_SESSION, (session_id,)).fetchone()
            found = self._sessions[session_id] = row is not None
        return found

    def settle_shared(self) -> None:
        """Make sure that nobody else writes to registry and circuits until this transaction has ended."""
        if SHARED not in self._scopes:
            raise LostRaceError("the registry was read without its lock", scopes=frozenset({SHARED}))


class PostgresqlTransactions:
    """``transactions.Transactions`` on a database that other gateways write to as well."""

    errors: tuple[type[Exception], ...] = (psycopg.Error,)
    lost_races: tuple[type[Exception], ...] = (
        psycopg.errors.UniqueViolation,
        psycopg.errors.LockNotAvailable,
        psycopg.errors.DeadlockDetected,
        psycopg.errors.SerializationFailure,
    )
    # Text that is no Unicode is a ValueError, a number above 64 bits an OverflowError.
    unstorable: tuple[type[Exception], ...] = (
        psycopg.DataError,
        psycopg.IntegrityError,
        psycopg.ProgrammingError,
        OverflowError,
        TypeError,
        ValueError,
    )

    def __init__(
        self, connect: Callable[[], PostgresqlConnection], sender: Sender, settled: Callable[[], None]
    ) -> None:
        """``settled`` is called when a commit that was in doubt is over: what it told, nobody heard here."""
        self._connect = connect
        self._sender = sender
        self._settled = settled
        self._is_in_doubt = False
        self._connection: PostgresqlConnection | None = None
        self._has_identities = False

    def connect(self) -> None:
        """Connect, unless it is connected."""
        self._connected()

    def begin(self, commands: int, reads: Sequence[OperationKey], scopes: frozenset[str]) -> Group:
        """Begin a transaction, take the locks, look up and lock operations: one round trip as a rule."""
        connection = self._connected()
        if self._is_in_doubt:
            self._settle(connection)
        sequences = PostgresqlSequences(connection, commands, has_identities=self._has_identities)
        group = PostgresqlGroup(connection, sequences, scopes)
        with connection.raw.pipeline():
            connection.execute("BEGIN")
            for scope in sorted(scopes):
                connection.execute(_LOCK, (_SCOPE_LOCKS[scope],))
            if reads:
                group.look_up(sorted(reads, key=lambda key: (key.operation_id, key.caller)))
                self._has_identities = sequences.found_identities
        return group

    def commit(self, group: Group, *, prove: bool) -> None:
        """Write, number, notify and commit: one round trip."""
        connection = self._connected()
        try:
            with connection.raw.pipeline():
                group.finish()
                if prove:
                    connection.execute(_PROVE)
                for payload in self._sender.payloads(group.signals):
                    connection.execute(_NOTIFY, (CHANNEL, payload))
                connection.execute("COMMIT")
        except psycopg.OperationalError as error:
            if not connection.raw.broken:
                raise
            self._is_in_doubt = True
            raise InDoubtError(
                "the store went away while it committed; whether it did shows when this is repeated",
                fix="Repeat it: it is done once. Look into the gateway's log: its database may be away.",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            ) from error

    def _settle(self, connection: PostgresqlConnection) -> None:
        """Wait until the server is through with what was to be committed on the connection that is gone.

        Nearly all that is committed holds this lock, as long as it takes.
        """
        connection.execute("BEGIN")
        connection.execute(_LOCK, (COMMIT_ORDER_LOCK,))
        connection.execute("COMMIT")
        self._is_in_doubt = False
        self._settled()

    def abandon(self) -> None:
        """Roll back; where that fails, the next group begins on a new connection."""
        if self._connection is None:
            return
        try:
            self._connection.execute("ROLLBACK")
        except psycopg.Error:
            self.disconnect()

    def disconnect(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> PostgresqlConnection:
        if self._connection is None or self._connection.raw.closed:
            self._connection = self._connect()
        return self._connection
