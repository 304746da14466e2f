"""The code of an earlier revision goes on writing a database that this one has migrated.

No release is out yet: the revision stands for the release before. It refused every newer schema at its start
(what ADR 0015 changed), so its own look at the schema is left out; all else is its code, taken from git.
"""

import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from tests.contract.samples import key
from tests.integration.store_process import acknowledgement

from isthmus.gateway.ports import EnvelopeSlot, Reader
from isthmus.gateway.store.migrate import migrate_strictly
from isthmus.gateway.store.schema_transaction import SqliteFile
from isthmus.gateway.store.sqlite import SqliteStore

ROOT = Path(__file__).resolve().parents[2]
BEFORE = "a27e491"
SOURCES = ("gateway", "endpoints", "policies", "sdk", "proto/gen", "")
PROGRAM = """
import isthmus.gateway.store.sqlite as sqlite
sqlite.migrate = (lambda url: None) if LEAVE_OUT else sqlite.migrate
from tests.integration.store_process import main
main()
"""


@pytest.fixture(scope="module")
def code_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the revision before."""
    archive = subprocess.run(
        ["git", "archive", BEFORE, "gateway", "endpoints", "policies", "sdk", "proto", "tests"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if archive.returncode != 0:
        pytest.skip(f"git has no revision {BEFORE} here")
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def commit_with(code: Path, database: Path, first: int, *, leave_out: bool) -> None:
    """Let the earlier code start three operations in a database, and look that it really was that code."""
    path = os.pathsep.join(str(code / source) for source in SOURCES)
    program = PROGRAM.replace("LEAVE_OUT", str(leave_out)) + "assert 'before' in sqlite.__file__\n"
    ran = subprocess.run(
        [sys.executable, "-c", program, str(database), str(first), "3"],
        cwd=code,
        env={"PYTHONPATH": path, "PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    assert acknowledgement(first + 2) in ran.stdout


async def test_release_before_and_this_one_take_turns_when_the_database_is_migrated_between(
    code_before: Path, tmp_path: Path
) -> None:
    """The earlier one writes before and after the migration, and this one reads all of it."""
    database = tmp_path / "isthmus.db"
    commit_with(code_before, database, 1, leave_out=False)
    assert migrate_strictly(SqliteFile(database))
    commit_with(code_before, database, 11, leave_out=True)
    store = SqliteStore(database)
    await store.open()
    assert await store.read(missing) == []
    await store.close()


def missing(reader: Reader) -> list[int]:
    """Return the operations that are not there with their requests."""
    return [
        number
        for number in (1, 2, 3, 11, 12, 13)
        if reader.operation(key(number)) is None or reader.envelope(key(number), EnvelopeSlot.REQUEST) is None
    ]
