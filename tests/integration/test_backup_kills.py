"""A backup and a restore are whole or not there, whenever the process dies."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.forking import ForkedModule
from tests.integration.backed_up import ROOT, left_by_a_gateway, positions_of, restore, take
from tests.integration.system_call_trace import require_strace

from isthmus.gateway.backups.manifest import read_manifest
from isthmus.gateway.statement_key import STATEMENT_KEY_FILE
from isthmus.gateway.store.sqlite_copy import ERA

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

_MOST = 50


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What a gateway left."""
    return left_by_a_gateway(tmp_path / "data")


def kills(log: Path, call: str, *arguments: str, watched: Path | None = None) -> Iterator[int]:
    """Run a backup process again and again, killed before its first call of a kind, its second, and so on.

    After each run its number is yielded; the last one ended by itself. ``watched`` counts only what is done
    to this file. Calls are counted thread by thread: those of the store's threads are met by their file.
    """
    module = ["tests.integration.backup_process", *arguments, "traced"]
    for number in range(1, _MOST):
        process = ForkedModule(module, environment=os.environ, folder=ROOT)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        command = [require_strace(), "-f", "-o", str(log), "-p", str(process.pid), "-e", f"trace={call}"]
        command += ["-e", f"inject={call}:signal=KILL:when={number}"]
        command += ["-P", str(watched)] if watched is not None else []
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            said = strace.stderr.readline()
            if "attached" not in said:
                process.kill()
                pytest.skip(f"strace may not trace here: {said}")
            _, errors = process.communicate("go\n")
        code = process.wait()
        assert code in {0, -signal.SIGKILL}, errors
        yield number
        if code == 0:
            return
    pytest.fail("it never ended by itself")


@pytest.mark.parametrize(("call", "times"), [("fsync", 5), ("rename", 1)])
def test_backup_is_whole_or_not_there_when_it_is_killed(
    data: Path, tmp_path: Path, call: str, times: int
) -> None:
    """Before each sync (database, key, manifest, both folders) and the rename; the next attempt clears up."""
    backup, number = tmp_path / "backup", 0
    for number in kills(tmp_path / "calls", call, "take", str(data), str(backup)):  # noqa: B007
        if not backup.exists():
            take(data, backup)
        assert not (tmp_path / "backup.partial").exists()
        restore(tmp_path / "restored", backup)
        assert read_manifest(backup).last_audit_position == 3
        assert positions_of(tmp_path / "restored")[:3] == [1, 2, 3]
        shutil.rmtree(tmp_path / "restored")
        shutil.rmtree(backup)
    assert number == times + 1


@pytest.mark.parametrize(
    ("call", "watched"),
    [("fsync", ""), ("fdatasync", ""), ("fdatasync", "isthmus.db.restoring/isthmus.db-wal"), ("rename", "")],
)
def test_restore_is_whole_or_not_there_when_it_is_killed(
    data: Path, tmp_path: Path, call: str, watched: str
) -> None:
    """Whoever comes next finds the restored database, or restores again; the log is the same either way."""
    backup, restored, number = tmp_path / "backup", tmp_path / "restored", 0
    take(data, backup)
    what = (call, "restore", str(restored), str(backup))
    for number in kills(tmp_path / "calls", *what, watched=restored / watched if watched else None):  # noqa: B007
        if not (restored / "isthmus.db").exists():
            restore(restored, backup)
        assert positions_of(restored) == [1, 2, 3, ERA + 1, ERA + 2, ERA + 3]
        assert (restored / STATEMENT_KEY_FILE).read_bytes() == (data / STATEMENT_KEY_FILE).read_bytes()
        shutil.rmtree(restored)
    # Key and database are renamed; everything else happens more often.
    assert number >= 3
