"""The database file: one gateway at a time, private, durable settings, a schema that fits."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.contract.commands import starting
from tests.contract.samples import key, operation
from tests.integration.store_process import READY

from isthmus.gateway.core.errors import ConfigurationError, ExhaustedError, UnavailableError
from isthmus.gateway.store import database_file
from isthmus.gateway.store.connection import READER_SETTINGS, WRITER_SETTINGS, check_settings, connect
from isthmus.gateway.store.sqlite import SqliteStore

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where a database may be made."""
    return tmp_path / "isthmus.db"


@contextmanager
def another_process(database: Path) -> Generator[int]:
    """Let another process have the database, and return its number."""
    command = [sys.executable, "-m", "tests.integration.store_process", str(database), "1", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == READY
        yield process.pid
        process.kill()


async def test_second_gateway_is_refused_when_one_has_the_file(database: Path) -> None:
    """The message names the process and the host that have it; it is free again afterwards."""
    with another_process(database) as process:
        holder = f"process {process} on host {os.uname().nodename}"
        with pytest.raises(UnavailableError, match=holder):
            await SqliteStore(database).open()
    store = SqliteStore(database)
    await store.open()
    second = SqliteStore(database)
    with pytest.raises(UnavailableError) as refused:
        await second.open()
    assert refused.value.reason == "STORE_IN_USE"
    await store.close()
    await second.open()
    await second.close()


def file_modes(directory: Path) -> dict[str, int]:
    """Return who may do what with each file."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


async def test_files_are_private_when_they_are_made(database: Path) -> None:
    """Nobody else on the machine reads the log of who called whom."""
    store = SqliteStore(database)
    await store.open()
    await store.transact(starting(operation(1)))
    modes = file_modes(database.parent)
    await store.close()
    assert modes == dict.fromkeys(
        ("isthmus.db", "isthmus.db-wal", "isthmus.db-shm", "isthmus.db.lock"), 0o600
    )


def test_open_is_refused_when_others_may_read_the_file(database: Path) -> None:
    """A file with open permissions is not quietly used."""
    database.touch(0o644)
    with pytest.raises(ConfigurationError, match="mode 644"):
        asyncio.run(SqliteStore(database).open())


async def test_open_is_refused_when_the_directory_does_not_exist(tmp_path: Path) -> None:
    """The message says which file, and what would help."""
    with pytest.raises(ConfigurationError, match="cannot be opened") as refused:
        await SqliteStore(tmp_path / "nowhere" / "isthmus.db").open()
    assert "directory" in refused.value.fix


def test_open_is_refused_when_the_file_is_no_database(database: Path) -> None:
    """Somebody else's file is neither used nor changed; the lock is given back."""
    database.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    database.chmod(0o600)
    before = database.read_bytes()
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            asyncio.run(SqliteStore(database).open())
    assert database.read_bytes() == before


async def test_open_is_refused_when_a_newer_release_wrote_the_schema(database: Path) -> None:
    """An older gateway keeps its hands off."""
    store = SqliteStore(database)
    await store.open()
    await store.close()
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE meta SET value = '9998' WHERE name = 'oldest_gateway'")
    connection.close()
    with pytest.raises(ConfigurationError, match="newer release") as refused:
        await SqliteStore(database).open()
    assert refused.value.reason == "STORE_SCHEMA_TOO_NEW"


@pytest.mark.parametrize(
    ("mounts", "refused"),
    [
        ("24 1 8:1 / / rw - ext4 /dev/sda rw\n25 24 0:9 / {0} rw - nfs4 server:/ rw\n", True),
        ("24 1 0:9 / / rw - nfs4 server:/ rw\n25 24 8:1 / {0} rw shared:1 - ext4 /dev/sda rw\n", False),
    ],
)
async def test_open_is_refused_when_the_file_system_is_remote(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: str, *, refused: bool
) -> None:
    """The mount that is nearest to the file decides."""
    table = tmp_path / "mountinfo"
    table.write_text(mounts.format(tmp_path))
    monkeypatch.setattr(database_file, "_MOUNTS", table)
    store = SqliteStore(database)
    if refused:
        with pytest.raises(ConfigurationError, match="nfs4"):
            await store.open()
    else:
        await store.open()
        await store.close()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("synchronous", "OFF"), ("synchronous", "NORMAL"), ("foreign_keys", "OFF"), ("trusted_schema", "ON")],
)
def test_weaker_setting_is_found_when_a_connection_is_checked(
    database: Path, pragma: str, value: str
) -> None:
    """Settings are compared with what the connection really does."""
    database.touch(0o600)
    connection = connect(database, WRITER_SETTINGS)
    connection.execute(f"PRAGMA {pragma} = {value}")
    with pytest.raises(ConfigurationError, match=f"PRAGMA {pragma}") as refused:
        check_settings(connection, WRITER_SETTINGS)
    assert refused.value.reason == "STORE_NOT_DURABLE"
    connection.close()


def test_connection_is_refused_when_it_does_not_obey() -> None:
    """A database in memory has no write-ahead log, however often one asks for it."""
    with pytest.raises(ConfigurationError, match="PRAGMA journal_mode = wal"):
        connect_in_memory()


def connect_in_memory() -> None:
    """Check a connection that cannot be durable."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("PRAGMA journal_mode = wal")
        check_settings(connection, WRITER_SETTINGS)
    finally:
        connection.close()


def test_reader_cannot_write_when_it_tries(database: Path) -> None:
    """Queries are queries, whatever their author meant."""
    database.touch(0o600)
    connect(database, WRITER_SETTINGS).close()
    connection = connect(database, READER_SETTINGS)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("CREATE TABLE t (a)")
    connection.close()


async def test_commands_are_refused_when_too_many_wait(database: Path) -> None:
    """The queue is bounded; what is over it is told when to come again, and what is in it is done."""
    store = SqliteStore(database, most_waiting=3)
    await store.open()
    numbers = range(1, 6)
    waiting = [asyncio.ensure_future(store.transact(starting(operation(number)))) for number in numbers]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert results[:3] == [None, None, None]
    for refused in results[3:]:
        assert isinstance(refused, ExhaustedError)
        assert refused.retry_after_seconds is not None
    await store.transact(starting(operation(9)))
    assert await store.read(lambda reader: reader.operation(key(9))) is not None
    await store.close()


async def test_commands_are_refused_when_another_program_holds_the_database(
    database: Path,
) -> None:
    """A writer that comes past the lock is waited for, then reported; afterwards all is well again."""
    store = SqliteStore(database)
    await store.open()
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError) as refused:
        await store.transact(starting(operation(1)))
    assert refused.value.reason == "STORE_UNAVAILABLE"
    connection.execute("ROLLBACK")
    connection.close()
    await store.transact(starting(operation(1)))
    await store.close()
