"""The shared store: one PostgreSQL database, any number of gateways."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import psycopg

from isthmus.gateway.core.errors import ConfigurationError, GatewayError
from isthmus.gateway.ports import Awaited, Clock, Listener, Reader
from isthmus.gateway.store.group_commit import GroupCommitStore
from isthmus.gateway.store.migrate import migrate
from isthmus.gateway.store.postgresql_connection import (
    PostgresqlConnection,
    check_server,
    connect,
    unreachable,
)
from isthmus.gateway.store.postgresql_listener import Listener as NotificationListener
from isthmus.gateway.store.postgresql_questions import CLOCK_FIX, PIN, PINNED, clock_difference, clock_problem
from isthmus.gateway.store.postgresql_signals import Note, Sender, decode, encode_end, ended
from isthmus.gateway.store.postgresql_transactions import PostgresqlTransactions
from isthmus.gateway.store.reader import SnapshotReader
from isthmus.gateway.store.schema_transaction import PostgresqlDatabase
from isthmus.gateway.store.statements import Query

T = TypeVar("T")

_logger = logging.getLogger(__name__)
_READ_TOGETHER = 64
_RETRY_SECONDS = 1.0
# Whatever was cached may be stale, and there may be new records of the log.
_AFTER_A_GAP: list[Note] = [["registry", "", ""], ["audit"]]


_PIN = Query("", "INSERT INTO meta VALUES (%s::text, %s::text) ON CONFLICT (name) DO NOTHING")


class PostgresqlSnapshots:
    """``reader_pool.Snapshots`` of a database server."""

    errors: tuple[type[Exception], ...] = (psycopg.Error,)

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def connect(self) -> PostgresqlConnection:
        """Open a connection for queries."""
        return connect(self._dsn, purpose="reader")

    def read(self, connection: PostgresqlConnection, query: Callable[[Reader], T]) -> T:
        """Run a query in a read transaction: everything it reads is of the same moment."""
        with connection.raw.pipeline():
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                return query(SnapshotReader(connection))
            finally:
                # Also of a query that raised: the next one is to see what is new by then.
                connection.execute("COMMIT")

    def close(self, connection: PostgresqlConnection) -> None:
        """Close a connection."""
        connection.close()


class PostgresqlStore(GroupCommitStore[PostgresqlConnection]):
    """``ports.Store`` on a database that other gateways use as well.

    A commit is on the server's disk before anybody hears of it, and told to the other gateways in the same
    transaction.

    Args:
        dsn: a connection string or URI of libpq. It may hold a password and is never shown.
        most_waiting: commands, and queries, that may wait; more are refused.
        readers: queries that run at the same time, each on a connection of its own.
    """

    is_shared = True

    def __init__(self, dsn: str, *, most_waiting: int = 10_000, readers: int = 4) -> None:
        self._dsn = dsn
        self._sender = Sender()
        self._others: list[tuple[Listener, Awaited]] = []
        self._telling: set[asyncio.Task[None]] = set()
        self._listener = NotificationListener(
            lambda: connect(dsn, purpose="listener"), self._heard, self._missed
        )
        super().__init__(
            PostgresqlTransactions(lambda: connect(dsn, purpose="writer"), self._sender, self._missed),
            PostgresqlSnapshots(dsn),
            most_waiting=most_waiting,
            readers=readers,
        )

    def subscribe_to_others(self, listener: Listener, awaited: Awaited) -> None:
        """Call the listener with what other gateways commit; of ends, with those that are awaited."""
        self._others.append((listener, awaited))

    async def pin(self, name: str, value: str) -> None:
        """Make sure that every gateway of this database has the same value.

        Raises:
            ConfigurationError: another gateway pinned another value.
            UnavailableError: the database cannot be asked now.
        """
        try:
            pinned = await asyncio.to_thread(self._pin, f"{PIN}{name}", value)
        except psycopg.Error as error:
            raise unreachable(error) from error
        if pinned != value:
            raise ConfigurationError(
                f"the other gateways of this database have another {name}",
                reason="STORE_PIN_DIFFERS",
                fix=f"Give every gateway a copy of the same {name} in its data directory.",
            )

    def _pin(self, name: str, value: str) -> str:
        connection = connect(self._dsn, purpose="check")
        try:
            connection.execute(_PIN, (name, value))
            (pinned,) = connection.execute(PINNED, (name,)).fetchone()
        finally:
            connection.close()
        return str(pinned)

    async def check_clock(self, clock: Clock) -> None:
        """Make sure that a clock is that of all gateways of this database: the server's, within a second.

        Raises:
            ConfigurationError: it is not.
            UnavailableError: the database cannot be asked now.
        """
        difference = await asyncio.to_thread(clock_difference, self._dsn, clock.now)
        if problem := clock_problem(difference):
            raise ConfigurationError(problem, reason="STORE_CLOCK_DIFFERS", fix=CLOCK_FIX)

    def _open(self) -> None:
        try:
            # Before anything is written: an unsafe server is refused as it is.
            check_server(self._dsn)
            migrate(PostgresqlDatabase(self._dsn))
            self._listener.start()
            self._start()
        except psycopg.OperationalError as error:
            self._listener.stop()
            raise unreachable(error) from error
        except psycopg.Error as error:
            self._listener.stop()
            raise ConfigurationError(
                f"the database cannot be opened: {error}", fix="Is it a database of Isthmus?"
            ) from error

    def _release(self) -> None:
        self._listener.stop()

    # --- what other gateways tell -----------------------------------------------------------------------

    def _heard(self, payloads: list[str]) -> None:
        """Pass notifications on to the event loop; called on the listener's thread."""
        notes = [note for payload in payloads for note in self._sender.notes(payload)]
        if notes:
            self._call_soon(lambda: self._tell_soon(notes))

    def _missed(self) -> None:
        """After a gap: look again for all that is awaited, and forget what may have changed."""
        self._call_soon(lambda: self._tell_soon([]))

    def _call_soon(self, call: Callable[[], None]) -> None:
        if self._loop is not None:
            # A loop that is gone has nobody who waits.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call)

    def _tell_soon(self, notes: list[Note]) -> None:
        job = asyncio.get_running_loop().create_task(self._tell_others(notes))
        self._telling.add(job)
        job.add_done_callback(self._telling.discard)

    async def _tell_others(self, notes: list[Note]) -> None:
        """Read what the notes are about, and tell it. Without notes: all that may have been missed."""
        for listener, awaited in self._others:
            keys = awaited()
            if notes:
                wanted = [note for note in notes if (key := ended(note)) is None or key in keys]
            else:
                wanted = [*_AFTER_A_GAP, *(encode_end(key) for key in keys)]
            for first in range(0, len(wanted), _READ_TOGETHER):
                chosen = wanted[first : first + _READ_TOGETHER]
                try:
                    signals = await self.read(partial(decode, notes=chosen))
                    listener(signals)
                except GatewayError as error:
                    _logger.warning("signals of other gateways are late: %s", error.message)
                    if self._is_open:
                        asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._tell_soon, chosen)
                except Exception:
                    _logger.exception("a listener failed")
