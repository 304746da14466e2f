"""Copies of the SQLite file: taken while a gateway serves, verified without one."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from isthmus.gateway.core.errors import BackupError
from isthmus.gateway.durable_file import sync_file
from isthmus.gateway.store.connection import READER_SETTINGS, connect
from isthmus.gateway.store.database_facts import DatabaseFacts, read_facts

# A pause between so many pages lets the caller say how far it is.
_PAGES = 4096
# A restored log goes on in the next era of places: whoever followed the log beyond the backup sees what comes
# after the restore, because no place is given twice. JavaScript's numbers have room for 8192 eras.
ERA = 2**40


def copy_database(source: Path, target: Path, progress: Callable[[int, int], None]) -> DatabaseFacts:
    """Copy the database as it is at one moment into a new file, and sync it.

    A gateway that serves goes on reading and writing. Its write-ahead log cannot be used again from the start
    meanwhile, so it grows by what is written.

    Args:
        source: the database file.
        target: a file that does not exist.
        progress: is told how many pages are copied, and of how many.

    Raises:
        BackupError: it is no database of Isthmus, or it cannot be read.
    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with closing(connect(source, READER_SETTINGS)) as reading, closing(open_unsynced(target)) as writing:
            # A snapshot for the whole copy: without it each commit of the gateway would begin it anew.
            reading.execute("BEGIN")
            facts = read_facts(reading)
            reading.backup(writing, pages=_PAGES, progress=lambda _, left, all_: progress(all_ - left, all_))
            reading.execute("COMMIT")
    except sqlite3.Error as error:
        raise BackupError(
            f"{source} cannot be copied: {error}", fix="Is it a database of Isthmus, and is the disk full?"
        ) from error
    sync_file(target)
    return facts


def verify_database(path: Path) -> DatabaseFacts:
    """Check every page and index of a database that nobody writes to; nothing appears beside it.

    Raises:
        BackupError: it is damaged, or none of Isthmus.
    """
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as connection:
            rows = connection.execute("PRAGMA integrity_check(10)").fetchall()
            if rows != [("ok",)]:
                raise BackupError(
                    f"{path} is damaged: {'; '.join(str(row[0]) for row in rows)}",
                    fix="Use another backup; if the database itself is damaged, restore the last good one.",
                )
            return read_facts(connection)
    except sqlite3.Error as error:
        raise BackupError(
            f"{path} cannot be read: {error}", fix="Use another backup: this is no whole database of Isthmus."
        ) from error


def begin_next_era(path: Path) -> None:
    """Let the log of a database that nobody has open go on in the next era of places."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
        connection.execute("DELETE FROM sqlite_sequence WHERE name = 'audit_events'")
        connection.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES ('audit_events', ?)", ((last // ERA + 1) * ERA,)
        )
        connection.execute("COMMIT")


def fold_log(path: Path) -> None:
    """Take the write-ahead log of a database that nobody has open into its file, and sync it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sync_file(path)


def open_unsynced(path: Path) -> sqlite3.Connection:
    """Open a file that becomes a copy, to be synced once it is whole."""
    # Neither journal nor sync: the copy has no name that anybody knows before it is whole and synced.
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    return connection
