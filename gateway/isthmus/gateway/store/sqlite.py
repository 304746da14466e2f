"""The embedded store: one SQLite file, one gateway, no other service."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from isthmus.gateway.core.errors import ConfigurationError
from isthmus.gateway.ports import Reader
from isthmus.gateway.store.connection import READER_SETTINGS, WRITER_SETTINGS, connect
from isthmus.gateway.store.database_file import FileLock, prepare_file
from isthmus.gateway.store.group_commit import GroupCommitStore
from isthmus.gateway.store.migrate import migrate
from isthmus.gateway.store.reader import SnapshotReader
from isthmus.gateway.store.schema_transaction import SqliteFile
from isthmus.gateway.store.sqlite_transactions import SqliteTransactions

T = TypeVar("T")


class SqliteSnapshots:
    """``reader_pool.Snapshots`` of a database file."""

    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, path: Path) -> None:
        self._path = path

    def connect(self) -> sqlite3.Connection:
        """Open a connection that only reads."""
        return connect(self._path, READER_SETTINGS)

    def read(self, connection: sqlite3.Connection, query: Callable[[Reader], T]) -> T:
        """Run a query in a read transaction."""
        connection.execute("BEGIN")
        try:
            return query(SnapshotReader(connection))
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def close(self, connection: sqlite3.Connection) -> None:
        """Close a connection."""
        connection.close()


class SqliteStore(GroupCommitStore[sqlite3.Connection]):
    """``ports.Store`` in one file.

    A commit is on disk before anybody hears of it: write-ahead log, ``synchronous=FULL``. After a crash of
    the process, the system or the machine, everything acknowledged is there; something that was not
    acknowledged may be.

    Args:
        path: the database file; ``.lock``, ``-wal`` and ``-shm`` lie beside it.
        most_waiting: commands, and queries, that may wait; more are refused.
        readers: queries that run at the same time.
    """

    is_shared = False

    def __init__(self, path: Path, *, most_waiting: int = 10_000, readers: int = 4) -> None:
        super().__init__(
            SqliteTransactions(lambda: connect(path, WRITER_SETTINGS)),
            SqliteSnapshots(path),
            most_waiting=most_waiting,
            readers=readers,
        )
        self._path = path
        self._lock = FileLock(path)

    def _open(self) -> None:
        prepare_file(self._path)
        self._lock.acquire()
        try:
            migrate(SqliteFile(self._path))
            self._start()
        except BaseException as error:
            self._release()
            if isinstance(error, sqlite3.Error):
                raise ConfigurationError(
                    f"{self._path} cannot be opened: {error}", fix="Is it a database of Isthmus?"
                ) from error
            raise

    def _release(self) -> None:
        self._lock.release()
