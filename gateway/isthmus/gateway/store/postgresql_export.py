"""Copies a PostgreSQL database into a database file, while gateways serve.

Everything is of one moment: a snapshot, read table by table and row by row, so memory holds a row and not a
table. What belongs to the server and not to the data stays behind: the pins of its gateways.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psycopg

from isthmus.gateway.core.errors import BackupError, NotFoundError, UnavailableError
from isthmus.gateway.durable_file import sync_file
from isthmus.gateway.store.database_facts import DatabaseFacts, read_facts
from isthmus.gateway.store.migrate import refuse_newer, schema_state
from isthmus.gateway.store.migrations.revisions import SchemaState, create
from isthmus.gateway.store.portable_file import PortableTable, portable_tables, take_indexes_away
from isthmus.gateway.store.postgresql_connection import (
    PostgresqlConnection,
    called,
    check_server,
    connect,
    unreachable,
)
from isthmus.gateway.store.schema_transaction import SCHEMA_LOCK, PostgresqlDatabase, SqliteFile
from isthmus.gateway.store.sqlite_copy import open_unsynced

_SETTINGS: Final[Mapping[str, str]] = {
    "client_encoding": "UTF8",
    "lock_timeout": "10s",
    # However long it takes; the server ends it when nobody reads any more.
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "10min",
}
_REPORT_ROWS: Final = 10_000
_NOT_OF_THE_DATA: Final = "name <> 'proof' AND name NOT LIKE 'pin/%'"


def require_database(dsn: str) -> SchemaState:
    """Return what schema a database has that this release can copy.

    Raises:
        NotFoundError: there is nothing of Isthmus in it.
        ConfigurationError: a newer release wrote it, or the server is not fit.
        UnavailableError: it cannot be reached.
    """
    check_server(dsn)
    state = schema_state(PostgresqlDatabase(dsn))
    if not state.current:
        raise NotFoundError(
            f"there is nothing of Isthmus in {called(dsn)}", fix="Is it the gateway's configuration?"
        )
    refuse_newer(state)
    return state


def export_database(dsn: str, target: Path, progress: Callable[[int, int], None]) -> DatabaseFacts:
    """Copy the database as it is at one moment into a new file of the same schema, and sync it.

    Gateways go on reading and writing, and may be started; a migration waits for the end. The server keeps
    what was deleted meanwhile until then.

    Args:
        dsn: a connection string or URI of libpq.
        target: a file that does not exist.
        progress: is told how many rows are copied, and of how many, as the server estimates.

    Raises:
        NotFoundError, ConfigurationError: as ``require_database``.
        UnavailableError: it cannot be reached, or is being migrated.
        BackupError: what it holds cannot be copied.
    """
    known = require_database(dsn)
    try:
        with closing(connect(dsn, purpose="backup", settings=_SETTINGS)) as source:
            # Before the snapshot: the tables that it sees are not replaced under it.
            source.execute(f"SELECT pg_advisory_lock_shared({SCHEMA_LOCK})")
            source.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            facts = read_facts(source)
            refuse_newer(replace(known, current=facts.schema))
            _fill(source, target, facts.schema, progress)
    except psycopg.errors.LockNotAvailable as error:
        raise UnavailableError(
            "the database is being migrated or restored",
            reason="STORE_IN_USE",
            fix="Let that end, and repeat this.",
        ) from error
    except psycopg.OperationalError as error:
        raise unreachable(error) from error
    except (psycopg.Error, sqlite3.Error) as error:
        raise BackupError(
            f"{called(dsn)} cannot be copied: {error}",
            fix="Is it a database of Isthmus, and is the disk full?",
        ) from error
    sync_file(target)
    return facts


def _fill(
    source: PostgresqlConnection, target: Path, schema: str, progress: Callable[[int, int], None]
) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with SqliteFile(target).transaction() as creating:
        create(creating, schema)
    with closing(open_unsynced(target)) as file:
        indexes = take_indexes_away(file)
        tables = portable_tables(file)
        report = _Report(progress, _estimated_rows(source, [table.name for table in tables]))
        file.execute("BEGIN")
        for table in tables:
            file.execute(f"DELETE FROM {table.name}")  # noqa: S608 - own names
            file.executemany(table.insert, report.counting(_rows(source, table)))
        _go_on_from(file, source)
        for statement in indexes:
            file.execute(statement)
        file.execute("COMMIT")


def _rows(source: PostgresqlConnection, table: PortableTable) -> Iterator[tuple[Any, ...]]:
    """Return the rows of a table in the order in which the file keeps them, as the server sends them."""
    where = f"WHERE {_NOT_OF_THE_DATA} " if table.name == "meta" else ""
    query = f"SELECT {table.column_list} FROM {table.name} {where}ORDER BY {', '.join(table.key)}"  # noqa: S608
    copied = 0
    with source.raw.cursor() as cursor:
        with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT BINARY)".encode()) as copy:
            copy.set_types(table.types)
            for row in copy.rows():
                copied += 1
                yield row
        if cursor.rowcount != copied:
            raise BackupError(
                f"{copied} rows of {table.name} arrived, and {cursor.rowcount} were sent",
                fix="Take the backup again.",
            )


def _go_on_from(file: sqlite3.Connection, source: PostgresqlConnection) -> None:
    """Let the log of the file go on behind every place that was given, also to what was rolled back."""
    (last,) = source.execute(
        "SELECT greatest(pg_sequence_last_value(pg_get_serial_sequence('audit_events', 'position')), 0)"
    ).fetchone()
    file.execute("DELETE FROM sqlite_sequence WHERE name = 'audit_events'")
    file.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('audit_events', ?)", (last,))


def _estimated_rows(source: PostgresqlConnection, names: list[str]) -> int:
    (rows,) = source.raw.execute(
        "SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class"
        " WHERE oid = ANY(%s::text[]::regclass[]::oid[])",
        (names,),
    ).fetchone() or (0,)
    return int(rows)


class _Report:
    """Tells how many rows went by, now and then."""

    def __init__(self, progress: Callable[[int, int], None], estimated: int) -> None:
        self._progress = progress
        self._estimated = estimated
        self._copied = 0

    def counting(self, rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """Pass the rows on."""
        for row in rows:
            self._copied += 1
            if self._copied % _REPORT_ROWS == 0:
                self._progress(self._copied, max(self._estimated, self._copied))
            yield row
