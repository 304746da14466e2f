"""The databases that have a schema: a transaction on each of them for whoever reads or changes it."""

import sqlite3
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Protocol
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from isthmus.gateway.core.errors import ConfigurationError, UnavailableError

# A gateway that serves holds the database for a commit at a time; another migration may take longer.
_WAIT_SECONDS = 60
# Any number that nobody else locks in the database.
SCHEMA_LOCK = 7_310_003
_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class SchemaDatabase(Protocol):
    """A database, as far as its schema goes."""

    dialect: str
    is_shared: bool
    """Whether others may be changing it at the same time."""

    def transaction(self, *, writes: bool = True) -> AbstractContextManager[Connection]:
        """Begin a transaction that ends with the block: committed, or rolled back after an error.

        Whoever writes is the only one.

        Raises:
            ConfigurationError: the database refuses.
        """
        ...


class SqliteFile:
    """``SchemaDatabase`` of the embedded store. Reading makes no file where there is none."""

    dialect = "sqlite"
    is_shared = False

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def transaction(self, *, writes: bool = True) -> Generator[Connection]:
        """Begin a transaction; it waits for commits of a gateway that serves."""
        engine = create_engine(
            self._url(writes=writes), poolclass=NullPool, connect_args={"timeout": _WAIT_SECONDS}
        )
        _begin_at_once(engine, "BEGIN IMMEDIATE" if writes else "BEGIN")
        with _transaction(engine) as connection:
            yield connection

    def _url(self, *, writes: bool) -> str:
        if writes:
            return f"sqlite:///{self._path}"
        if not self._path.exists():
            return "sqlite://"
        return f"sqlite:///file:{quote(str(self._path))}?mode=ro&uri=true"


class PostgresqlDatabase:
    """``SchemaDatabase`` on a server; of gateways that start together, one at a time writes.

    Args:
        dsn: a connection string or URI of libpq.
        purpose: what the server calls its connections, behind "isthmus".
        settings: of its transactions.
    """

    dialect = "postgresql"
    is_shared = True

    def __init__(
        self, dsn: str, *, purpose: str = "schema", settings: Mapping[str, str] = _NO_SETTINGS
    ) -> None:
        self._dsn = dsn
        self._purpose = purpose
        self._settings = settings

    @contextmanager
    def transaction(self, *, writes: bool = True) -> Generator[Connection]:
        """Begin a transaction; whoever writes waits for others that do, and for backups.

        Raises:
            ConfigurationError: the database refuses.
            UnavailableError: the settings have a ``lock_timeout``, and it is over.
        """
        import psycopg  # noqa: PLC0415 - an extra: SQLite needs none of it

        engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: psycopg.connect(self._dsn, application_name=f"isthmus {self._purpose}"),
            poolclass=NullPool,
        )
        with _transaction(engine) as connection:
            if not writes:
                connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            for name, value in self._settings.items():
                connection.exec_driver_sql("SELECT set_config(%s, %s, true)", (name, value))
            if writes:
                _lock(connection, psycopg.errors.LockNotAvailable)
            yield connection


def _lock(connection: Connection, timed_out: type[Exception]) -> None:
    try:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})")
    except DatabaseError as error:
        if isinstance(error.orig, timed_out):
            raise UnavailableError(
                "a migration, a restore or a backup of the database is under way",
                reason="STORE_IN_USE",
                fix="Let it end, and repeat this.",
            ) from error
        raise


@contextmanager
def _transaction(engine: Engine) -> Generator[Connection]:
    try:
        with engine.begin() as connection:
            yield connection
    except DatabaseError as error:
        raise ConfigurationError(
            f"the database cannot be migrated: {error.orig}",
            reason="STORE_SCHEMA",
            fix="Is it a database of Isthmus, and can the gateway write to it?",
        ) from error
    finally:
        engine.dispose()


def _begin_at_once(engine: Engine, statement: str) -> None:
    """Make transactions contain everything: Python's driver begins them only before it changes rows."""

    @event.listens_for(engine, "connect")
    def leave_transactions_to_us(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)
