"""Backups: taken while the store is written, restored whole or not at all, whenever the process dies."""

import asyncio
import fcntl
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.samples import CALLER, HANDLER, key, operation, start
from tests.integration.backed_up import ROOT, left_by_a_gateway, log_of, positions_of, restore, take
from tests.integration.backup_process import TAKEN_AT, config_of
from tests.integration.store_process import ACKNOWLEDGEMENT, READY

from isthmus.gateway.backups.manifest import read_manifest
from isthmus.gateway.backups.restore import check_restore, restore_backup
from isthmus.gateway.backups.take import take_backup
from isthmus.gateway.core.errors import (
    AlreadyExistsError,
    BackupError,
    ConfigurationError,
    GatewayError,
    NotFoundError,
    UnavailableError,
)
from isthmus.gateway.ports import Reader
from isthmus.gateway.statement_key import STATEMENT_KEY_FILE, StatementKey
from isthmus.gateway.store.database_file import FileLock
from isthmus.gateway.store.sqlite import SqliteStore
from isthmus.gateway.store.sqlite_copy import ERA
from isthmus.v1.audit_pb2 import AuditEvent

ACKNOWLEDGED_BETWEEN = 300


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What a gateway left that knows two namespaces and three operations."""
    return left_by_a_gateway(tmp_path / "data")


def test_everything_acknowledged_before_it_is_there_when_the_store_is_written_meanwhile(
    tmp_path: Path,
) -> None:
    """While commits go on, three backups: each of one moment, and each serves after its restore."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    StatementKey.load_or_create(data)
    command = [sys.executable, "-m", "tests.integration.store_process", str(data / "isthmus.db")]
    before: list[int] = []
    with subprocess.Popen([*command, "1", "1000000", "16"], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == READY
        for _ in range(3):
            for _ in range(ACKNOWLEDGED_BETWEEN):
                process.stdout.readline()
            before.append(int(process.stdout.readline().removeprefix(ACKNOWLEDGEMENT)))
            take(data, tmp_path / f"backup-{len(before)}")
        process.kill()
    for round_number, last in enumerate(before, start=1):
        backup, restored = tmp_path / f"backup-{round_number}", tmp_path / f"restored-{round_number}"
        restore(restored, backup)
        # Sixteen start at a time: whatever is well before the last acknowledgement was acknowledged, too.
        assert asyncio.run(serve_again(restored, last - 16)) == []
        in_backup = read_manifest(backup).last_audit_position
        assert positions_of(restored) == [*range(1, in_backup + 1), ERA + 1, ERA + 2]


async def serve_again(data: Path, until: int) -> list[int]:
    """Start one more operation in a restored store; return which ones up to a number are not there."""
    store = SqliteStore(data / "isthmus.db")
    await store.open()
    lost = await store.read(lambda reader: missing(reader, until))
    await store.transact(lambda unit: start(unit, operation(2_000_000)))
    await store.close()
    return lost


def missing(reader: Reader, until: int) -> list[int]:
    """Return the operations up to a number that are not there."""
    return [number for number in range(1, until) if reader.operation(key(number)) is None]


def test_restore_is_on_record_when_it_is_done(data: Path, tmp_path: Path) -> None:
    """Once for the platform, once for each namespace; no place of the log is given twice, however often."""
    take(data, tmp_path / "backup")
    restore(tmp_path / "restored", tmp_path / "backup")
    events = log_of(tmp_path / "restored")[3:]
    assert [event.position for event in events] == [ERA + 1, ERA + 2, ERA + 3]
    told = [AuditEvent.FromString(event.event).store_restored for event in events]
    assert [record.namespace for record in told] == ["", *sorted((CALLER, HANDLER))]
    assert {record.last_position for record in told} == {3}
    assert {record.backup_taken_at_ms for record in told} == {int(TAKEN_AT.timestamp() * 1000)}
    take(tmp_path / "restored", tmp_path / "second-backup")
    restore(tmp_path / "again", tmp_path / "second-backup")
    assert positions_of(tmp_path / "again")[6] == 2 * ERA + 1


def test_files_are_private_and_whole_when_a_backup_is_restored(data: Path, tmp_path: Path) -> None:
    """Nobody but the owner reads a backup, and the key comes with it, byte for byte."""
    take(data, tmp_path / "backup")
    restore(tmp_path / "restored", tmp_path / "backup")
    for folder in (tmp_path / "backup", tmp_path / "restored"):
        assert folder.stat().st_mode & 0o077 == 0
        assert all(file.stat().st_mode & 0o777 == 0o600 for file in folder.iterdir())
    key_of = [(folder / STATEMENT_KEY_FILE).read_bytes() for folder in (data, tmp_path / "restored")]
    assert key_of[0] == key_of[1]
    assert sorted(file.name for file in (tmp_path / "restored").iterdir()) == [
        "isthmus.db",
        "isthmus.db.lock",
        STATEMENT_KEY_FILE,
    ]


def test_backup_is_refused_when_something_is_missing_or_in_the_way(data: Path, tmp_path: Path) -> None:
    """A folder that exists stays as it is; a backup without its key is one only if that is wanted."""
    (tmp_path / "there").mkdir()
    with pytest.raises(AlreadyExistsError, match="never overwrites"):
        take(data, tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []
    with pytest.raises(NotFoundError, match="there is no database"):
        take(tmp_path / "nothing", tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="there is no folder"):
        take(data, tmp_path / "no" / "backup")
    (data / STATEMENT_KEY_FILE).unlink()
    with pytest.raises(ConfigurationError) as refused:
        take(data, tmp_path / "backup")
    assert "--without-key" in refused.value.fix
    manifest = take_backup(
        config_of(data), tmp_path / "backup", now=TAKEN_AT, software_version="1", with_key=False
    )
    assert list(manifest.files) == ["isthmus.db"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "data", "there"]


def test_backup_is_refused_when_another_process_makes_it(data: Path, tmp_path: Path) -> None:
    """Two that were started by mistake do not mix their files."""
    partial = tmp_path / "backup.partial"
    partial.mkdir()
    (partial / "of the other one").touch()
    descriptor = os.open(partial, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(AlreadyExistsError, match="another process is making"):
        take(data, tmp_path / "backup")
    assert (partial / "of the other one").exists()
    os.close(descriptor)
    take(data, tmp_path / "backup")
    assert not partial.exists()


def flip(path: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "name", "expected"),
    [
        (Path.unlink, "manifest.json", (NotFoundError, "it has no manifest.json")),
        (flip, "manifest.json", (BackupError, "cannot be understood")),
        (flip, "isthmus.db", (BackupError, "it is not what the manifest says")),
        (flip, STATEMENT_KEY_FILE, (BackupError, "is damaged")),
    ],
)
def test_nothing_is_restored_when_the_backup_is_damaged(
    data: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    name: str,
    expected: tuple[type[GatewayError], str],
) -> None:
    """Neither a database nor a key appears."""
    take(data, tmp_path / "backup")
    damage(tmp_path / "backup" / name)
    error, said = expected
    with pytest.raises(error, match=said):
        restore_backup(config_of(tmp_path / "restored"), tmp_path / "backup", now=TAKEN_AT)
    left = {file.name for file in (tmp_path / "restored").iterdir()}
    assert left <= {"isthmus.db.lock", "isthmus.db.restoring"}


def test_damaged_database_is_found_when_it_is_backed_up(data: Path, tmp_path: Path) -> None:
    """A backup that could not be used is none: nothing with its name appears."""
    with closing(sqlite3.connect(data / "isthmus.db", isolation_level=None)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'operations_by_id'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with (data / "isthmus.db").open("r+b") as file:
        file.seek((page - 1) * size + size - 64)
        file.write(b"\xff" * 64)
    with pytest.raises(BackupError, match=r"is damaged|cannot be"):
        take(data, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_restore_is_refused_when_something_is_in_its_place(data: Path, tmp_path: Path) -> None:
    """A database, a log that one left behind, another key, another trust domain: nothing is overwritten."""
    take(data, tmp_path / "backup")
    before = (data / "isthmus.db").read_bytes()
    with pytest.raises(AlreadyExistsError, match=r"there is .*isthmus.db, and a restore never overwrites"):
        restore_backup(config_of(data), tmp_path / "backup", now=TAKEN_AT)
    assert (data / "isthmus.db").read_bytes() == before
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    (other / "isthmus.db-wal").write_bytes(b"what a database of before wrote")
    with pytest.raises(AlreadyExistsError, match=r"isthmus\.db-wal"):
        restore_backup(config_of(other), tmp_path / "backup", now=TAKEN_AT)
    (other / "isthmus.db-wal").unlink()
    StatementKey.load_or_create(other)
    with pytest.raises(AlreadyExistsError, match="is another key"):
        restore_backup(config_of(other), tmp_path / "backup", now=TAKEN_AT)
    with pytest.raises(ConfigurationError, match=r"trust domain backups\.test, not elsewhere"):
        check_restore(replace(config_of(other), trust_domain="elsewhere"), tmp_path / "backup")


def test_restore_is_refused_when_a_gateway_has_the_place(data: Path, tmp_path: Path) -> None:
    """Its lock counts, whether it has written a database yet or not."""
    take(data, tmp_path / "backup")
    (tmp_path / "restored").mkdir(mode=0o700)
    lock = FileLock(tmp_path / "restored" / "isthmus.db")
    lock.acquire()
    with pytest.raises(UnavailableError) as refused:
        restore_backup(config_of(tmp_path / "restored"), tmp_path / "backup", now=TAKEN_AT)
    lock.release()
    assert refused.value.reason == "STORE_IN_USE"
    restore(tmp_path / "restored", tmp_path / "backup")


def test_backup_of_a_newer_release_is_refused_when_it_does_not_let_this_one_serve(
    data: Path, tmp_path: Path
) -> None:
    """As its gateway would be."""
    with closing(sqlite3.connect(data / "isthmus.db", isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE meta SET value = '9998' WHERE name = 'oldest_gateway'")
    take(data, tmp_path / "backup")
    asked = [sys.executable, "-m", "tests.integration.backup_process", "restore"]
    refused = subprocess.run(
        [*asked, str(tmp_path / "restored"), str(tmp_path / "backup")],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert "a newer release of Isthmus wrote the database" in refused.stderr
    assert not (tmp_path / "restored" / "isthmus.db").exists()
