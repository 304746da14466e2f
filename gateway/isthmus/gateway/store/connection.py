"""Connections to the database file, with settings that are set, read back and compared.

What makes an acknowledged commit durable is a handful of settings that SQLite takes without complaint and
does not always obey: a file system without shared memory silently keeps the rollback journal, a library may
be compiled with other defaults. So every connection answers for its own.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from isthmus.gateway.core.errors import ConfigurationError

BUSY_TIMEOUT_MILLISECONDS = 5_000
# A checkpoint copies the log into the database and syncs both; rarely done, it meets most pages only once.
_CHECKPOINT_PAGES = 4_000
_LOG_LIMIT_BYTES = 64 * 1024 * 1024
_WRITER_CACHE_KIBIBYTES = 64 * 1024
_READER_CACHE_KIBIBYTES = 8 * 1024
# One prepared statement for each query, and for each table and power of two that rows are written in.
_CACHED_STATEMENTS = 512

_SYNCHRONOUS_FULL = 2
_MEMORY = 2

_SETTINGS: Mapping[str, str | int] = {
    "busy_timeout": BUSY_TIMEOUT_MILLISECONDS,
    "journal_mode": "wal",
    "synchronous": _SYNCHRONOUS_FULL,
    "foreign_keys": 1,
    "trusted_schema": 0,
    "temp_store": _MEMORY,
    "wal_autocheckpoint": _CHECKPOINT_PAGES,
    "journal_size_limit": _LOG_LIMIT_BYTES,
    # fsync on macOS does not reach the disk; elsewhere these change nothing.
    "fullfsync": 1,
    "checkpoint_fullfsync": 1,
}
WRITER_SETTINGS: Mapping[str, str | int] = {**_SETTINGS, "cache_size": -_WRITER_CACHE_KIBIBYTES}
READER_SETTINGS: Mapping[str, str | int] = {
    **_SETTINGS,
    "cache_size": -_READER_CACHE_KIBIBYTES,
    "query_only": 1,
}


def connect(path: Path, settings: Mapping[str, str | int]) -> sqlite3.Connection:
    """Return a connection that obeys the settings. Transactions are begun and ended by statements only.

    Raises:
        ConfigurationError: it does not obey.
        sqlite3.Error: the file cannot be opened.
    """
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
        timeout=BUSY_TIMEOUT_MILLISECONDS / 1000,
    )
    try:
        for name, value in settings.items():
            connection.execute(f"PRAGMA {name} = {value}")
        check_settings(connection, settings)
    except BaseException:
        connection.close()
        raise
    return connection


def check_settings(connection: sqlite3.Connection, settings: Mapping[str, str | int]) -> None:
    """Compare what a connection really does with what it was told.

    Raises:
        ConfigurationError: they differ.
    """
    for name, value in settings.items():
        row = connection.execute(f"PRAGMA {name}").fetchone()
        actual = None if row is None else row[0]
        if actual != value:
            raise ConfigurationError(
                f"the database does not obey PRAGMA {name} = {value}: it says {actual}",
                reason="STORE_NOT_DURABLE",
                fix="Keep the database on a local file system, and use a stock SQLite library.",
            )
