"""Bring a database to the schema of this release.

A migration leaves gateways of the release before it running, and lets them start again: they find a schema
that they do not know, and in it the oldest revision that a gateway has to know to serve it. So an upgrade
is: migrate, replace the gateways one by one; and going back is replacing them again.
"""

import logging
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, Text, create_engine, event, make_url
from sqlalchemy.dialects.postgresql.base import PGTypeCompiler
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from isthmus.gateway.core.errors import ConfigurationError
from isthmus.gateway.store.migrations.revisions import (
    Migration,
    SchemaState,
    migrations_after,
    read_state,
    upgrade,
)

_logger = logging.getLogger(__name__)

# A gateway that serves holds the database for a commit at a time; another migration may take longer.
_WAIT_SECONDS = 60
# Any number that nobody else locks in the database.
_POSTGRESQL_LOCK = 7_310_003


def migrate(url: str) -> None:
    """Run the migrations that the database lacks, all in one transaction; none is the usual case.

    A database of a newer release is left as it is, when that release lets gateways of this one serve it.

    Args:
        url: of SQLAlchemy, such as ``sqlite:////var/lib/isthmus/isthmus.db``.

    Raises:
        ConfigurationError: a newer release wrote the database, or it is none of ours.
    """
    with _connect(url) as connection:
        _migrate(connection)


def migrate_postgresql(dsn: str) -> None:
    """Do as ``migrate`` on a PostgreSQL database; of gateways that start together, one at a time.

    Args:
        dsn: a connection string or URI of libpq.

    Raises:
        ConfigurationError: a newer release wrote the database, or it is none of ours.
    """
    import psycopg  # noqa: PLC0415 - an extra: SQLite needs none of it

    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    engine.dialect.type_compiler_instance = _CodePointText(engine.dialect)
    with _transaction(engine) as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRESQL_LOCK})")
        _migrate(connection)


class _CodePointText(PGTypeCompiler):
    """Text that is compared by code points, as SQLite does, whatever the language of the database."""

    def visit_TEXT(self, type_: Text, **kw: object) -> str:  # noqa: N802 - SQLAlchemy calls it
        return f'{super().visit_TEXT(type_, **kw)} COLLATE "C"'


def _migrate(connection: Connection) -> None:
    state = read_state(connection)
    if state.is_newer and state.is_servable:
        _logger.warning(
            "the database has schema %s of a newer release, which leaves this one serving", state.current
        )
    elif not state.is_servable:
        _upgrade(connection, state)


def migrate_strictly(url: str) -> tuple[Migration, ...]:
    """Do as ``migrate``, and return what was run; a newer schema is refused, whoever may serve it.

    Raises:
        ConfigurationError: a newer release wrote the database, or it is none of ours.
    """
    with _connect(url) as connection:
        state = read_state(connection)
        _refuse_newer(state)
        pending = migrations_after(state.current, connection.dialect.name)
        if pending:
            _upgrade(connection, state)
    return pending


def schema_state(url: str) -> SchemaState:
    """Return which schema a database has and which one this release knows; nothing is written.

    Raises:
        ConfigurationError: the database cannot be read.
    """
    with _connect(_for_reading(url), writes=False) as connection:
        return read_state(connection)


def pending_migrations(url: str) -> tuple[Migration, ...]:
    """Return what ``migrate_strictly`` would run; nothing is written.

    Raises:
        ConfigurationError: a newer release wrote the database, or it cannot be read.
    """
    state = schema_state(url)
    _refuse_newer(state)
    return migrations_after(state.current, make_url(url).get_dialect().name)


def _for_reading(url: str) -> str:
    """Return the URL of the same database, which makes no file where there is none."""
    parts = make_url(url)
    if parts.get_backend_name() != "sqlite" or parts.database is None:
        return url
    if not Path(parts.database).exists():
        return "sqlite://"
    reading = parts.set(database=f"file:{quote(parts.database)}", query={"mode": "ro", "uri": "true"})
    return reading.render_as_string(hide_password=False)


@contextmanager
def _connect(url: str, *, writes: bool = True) -> Generator[Connection]:
    is_sqlite = make_url(url).get_backend_name() == "sqlite"
    arguments = {"timeout": _WAIT_SECONDS} if is_sqlite else {}
    engine = create_engine(url, poolclass=NullPool, connect_args=arguments)
    if is_sqlite:
        _begin_at_once(engine, "BEGIN IMMEDIATE" if writes else "BEGIN")
    with _transaction(engine) as connection:
        yield connection


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


def _upgrade(connection: Connection, state: SchemaState) -> None:
    _refuse_newer(state)
    _logger.info("migrating the database from %s to %s", state.current or "nothing", state.newest)
    upgrade(connection)


def _refuse_newer(state: SchemaState) -> None:
    if state.is_newer:
        raise ConfigurationError(
            "a newer release of Isthmus wrote the database "
            f"(schema {state.current}; this release knows {state.newest})",
            reason="STORE_SCHEMA_TOO_NEW",
            fix="Run that release, or restore a backup from before it.",
        )
