"""Fills an empty PostgreSQL database from a database file, in one transaction.

Schema, rows, indexes and the places from which counting goes on become visible together. Whatever dies
before, here or at the server, leaves the database as empty as it was; a gateway that starts meanwhile waits.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import psycopg

from isthmus.gateway.core.errors import (
    AlreadyExistsError,
    BackupError,
    ConfigurationError,
)
from isthmus.gateway.store.database_facts import read_facts
from isthmus.gateway.store.migrations.revisions import read_state, upgrade
from isthmus.gateway.store.portable_file import PortableTable, portable_tables
from isthmus.gateway.store.postgresql_connection import (
    PostgresqlConnection,
    called,
    check_server,
    unreachable,
)
from isthmus.gateway.store.schema import metadata
from isthmus.gateway.store.schema_transaction import PostgresqlDatabase

_SETTINGS: Final[Mapping[str, str]] = {
    # Another restore into the same database, or a gateway that migrates it.
    "lock_timeout": "10s",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "10min",
    # An index may take long: the server looks whether anybody is still there.
    "client_connection_check_interval": "2s",
}
_OURS: Final = [*metadata.tables, "alembic_version"]


def refuse_filled(dsn: str) -> None:
    """Make sure that a database can be reached and has nothing of Isthmus in it.

    Raises:
        AlreadyExistsError: it has.
        ConfigurationError: the server is not fit.
        UnavailableError: it cannot be reached.
    """
    check_server(dsn)
    with PostgresqlDatabase(dsn).transaction(writes=False) as connection:
        _refuse_filled(_driver(connection.connection.driver_connection), dsn)


def import_database(source: Path, dsn: str) -> None:
    """Put everything that a file holds into an empty database; all of it is committed, or nothing.

    Args:
        source: a file of this release's schema that nobody writes to.
        dsn: a connection string or URI of libpq.

    Raises:
        AlreadyExistsError: there is something of Isthmus in the database.
        ConfigurationError: the file is of a newer release, or the server is not fit.
        UnavailableError: the server cannot be reached, or another process is at it.
        BackupError: the database does not take what the file holds.
    """
    check_server(dsn)
    target = PostgresqlDatabase(dsn, purpose="restore", settings=_SETTINGS)
    opened = sqlite3.connect(f"file:{quote(str(source))}?mode=ro&immutable=1", uri=True)
    try:
        with closing(opened) as file, target.transaction() as connection:
            database = _driver(connection.connection.driver_connection)
            _refuse_filled(database, dsn)
            upgrade(connection)
            newest = read_state(connection).newest
            schema = read_facts(file).schema
            if schema != newest:
                raise ConfigurationError(
                    f"the backup is of a newer release (schema {schema}; this one has {newest})",
                    reason="STORE_SCHEMA_TOO_NEW",
                    fix="Restore it with that release.",
                )
            _fill(database, file)
            if read_facts(database) != read_facts(file):
                raise BackupError("the database differs from the backup", fix="Restore it again.")
    except psycopg.OperationalError as error:
        raise unreachable(error) from error
    except psycopg.Error as error:
        raise BackupError(
            f"{called(dsn)} does not take the backup: {error.diag.message_primary or type(error).__name__}",
            fix="Use another backup; if it is whole, this is a fault of Isthmus.",
        ) from error


def _driver(raw: Any) -> PostgresqlConnection:  # noqa: ANN401 - SQLAlchemy does not know whose it is
    return PostgresqlConnection(raw)


def _refuse_filled(database: PostgresqlConnection, dsn: str) -> None:
    there = database.raw.execute(
        "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NOT NULL ORDER BY name",
        (_OURS,),
    ).fetchall()
    if there:
        raise AlreadyExistsError(
            f"{called(dsn)} has tables of Isthmus ({there[0][0]}), and a restore never overwrites",
            reason="STORE_EXISTS",
            fix="Name an empty database (createdb); keep the other: it may hold what the backup lacks.",
        )


def _fill(database: PostgresqlConnection, file: sqlite3.Connection) -> None:
    tables = portable_tables(file)
    indexes = _take_indexes_away(database, [table.name for table in tables])
    for table in tables:
        database.raw.execute(f"DELETE FROM {table.name}".encode())  # noqa: S608 - own names
        _copy(database, file, table)
    _go_on_from(database, file)
    for statement in indexes:
        database.raw.execute(statement.encode())
    for table in tables:
        database.raw.execute(f"ANALYZE {table.name}".encode())


def _copy(database: PostgresqlConnection, file: sqlite3.Connection, table: PortableTable) -> None:
    rows = file.execute(f"SELECT {table.column_list} FROM {table.name}")  # noqa: S608 - own names
    into = f"COPY {table.name} ({table.column_list}) FROM STDIN (FORMAT BINARY)"
    with database.raw.cursor() as cursor, cursor.copy(into.encode()) as copy:
        copy.set_types(table.types)
        for row in rows:
            copy.write_row(row)


def _take_indexes_away(database: PostgresqlConnection, names: Sequence[str]) -> list[str]:
    """Drop the indexes that are not a primary key's; return the statements that make them again."""
    indexes = database.raw.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indrelid = ANY(%s::text[]::regclass[]::oid[]) AND NOT indisprimary ORDER BY 1",
        (list(names),),
    ).fetchall()
    for name, _ in indexes:
        database.raw.execute(f"DROP INDEX {name}".encode())
    return [definition for _, definition in indexes]


def _go_on_from(database: PostgresqlConnection, file: sqlite3.Connection) -> None:
    """Let the places of the log, and those of operations, go on behind what was restored."""
    (log,) = file.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
    # What was retired has left its place to the records that are filed under it.
    (operation,) = file.execute(
        "SELECT max(coalesce((SELECT max(position) FROM operations), 0),"
        " coalesce((SELECT max(operation) FROM audit_events), 0))"
    ).fetchone()
    for sequence, last in (
        ("pg_get_serial_sequence('audit_events', 'position')", log),
        ("'operation_positions'", operation),
    ):
        # Of a sequence that gave nothing yet, the first place is still to come.
        database.raw.execute(
            f"SELECT setval({sequence}, greatest(%s::bigint, 1), %s::bigint > 0)".encode(),
            (last, last),
        )
