"""Acknowledged means durable: the sync comes first, and a killed process loses nothing that it said."""

import os
import random
import sqlite3
import sys
from pathlib import Path

import pytest
from tests.contract.samples import key
from tests.forking import ForkedModule
from tests.integration.store_process import ACKNOWLEDGEMENT, READY, acknowledgement, request
from tests.integration.system_call_trace import run_traced, system_calls, told_too_early

from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.ports import AuditFilter, EnvelopeSlot, Reader, Store
from isthmus.gateway.store.sqlite import SqliteStore
from isthmus.v1.audit_pb2 import AuditEvent

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20


def committing(database: Path, first: int, count: int, concurrent: int) -> list[str]:
    """Return the command line of a process that commits and acknowledges."""
    numbers = [str(number) for number in (first, count, concurrent)]
    return [sys.executable, "-m", "tests.integration.store_process", str(database), *numbers]


@pytest.mark.parametrize("concurrent", [1, 8])
def test_log_is_synced_when_an_acknowledgement_is_sent(tmp_path: Path, concurrent: int) -> None:
    """Before anybody is told of an operation, a sync that began after its bytes were written has returned."""
    count = 40
    calls = run_traced(
        committing(tmp_path / "isthmus.db", 1, count, concurrent),
        tmp_path / "trace",
        directory=ROOT,
        timeout_seconds=90,
    )
    syncs = [call for call in calls if call.target.endswith("isthmus.db-wal") and "sync" in call.name]
    assert len(syncs) >= count / concurrent
    facts = {
        f'"{acknowledgement(number).decode().strip()}\\n"': request(number).decode()
        for number in range(1, count + 1)
    }
    assert told_too_early(calls, log_file="isthmus.db-wal", facts=facts) == []


def test_early_acknowledgement_is_found_when_a_trace_has_one() -> None:
    """The check above can fail: a sync that is missing, failed, or still under way is noticed."""
    write = '7 pwrite64(5</d/isthmus.db-wal>, "..<request 1>..", 4096, 32) = 4096\n'
    other = '7 pwrite64(5</d/isthmus.db-wal>, "..<request 2>..", 4096, 4152) = 4096\n'
    sync = "7 fdatasync(5</d/isthmus.db-wal>) = 0\n"
    failed = "7 fdatasync(5</d/isthmus.db-wal>) = -1 EIO (Input/output error)\n"
    begun = "7 fdatasync(5</d/isthmus.db-wal> <unfinished ...>\n"
    resumed = "7 <... fdatasync resumed>) = 0\n"
    told = '8 write(1<pipe:[1]>, "ack 1\\n", 6) = 6\n'
    telling = '8 write(1<pipe:[1]>, "ack 1\\n", 6 <unfinished ...>\n'
    had_told = "8 <... write resumed>) = 6\n"

    def early(*lines: str) -> list[str]:
        calls = system_calls("".join(lines))
        return told_too_early(calls, log_file="isthmus.db-wal", facts={"ack 1": "<request 1>"})

    assert early(write, sync, told) == []
    assert early(write, begun, resumed, told) == []
    assert early(write, sync, other, told) == []
    assert early(write, sync, telling, other, had_told) == []
    for lines in (
        [write, told, sync],
        [sync, write, told],
        [write, failed, told],
        [write, begun, told, resumed],
        [begun, write, resumed, told],
        [write, telling, sync, had_told],
        [other, sync, told],
        [write, sync],
    ):
        assert early(*lines) == ["ack 1"], lines


@pytest.mark.slow
async def test_everything_acknowledged_is_there_when_the_process_is_killed(tmp_path: Path) -> None:
    """Twenty kills at random moments: no acknowledged operation is missing, none has two records."""
    database = tmp_path / "isthmus.db"
    acknowledged: list[int] = []
    moments = random.Random(4711)  # noqa: S311 - when to kill, the same in every run
    for round_number in range(KILLS):
        first = round_number * 100_000 + 1
        acknowledged += kill_while_committing(database, first, moments)
        await assert_all_there(database, acknowledged)
    assert len(acknowledged) > KILLS


def kill_while_committing(database: Path, first: int, moments: random.Random) -> list[int]:
    """Let a process commit, kill it after some acknowledgements, return all that it gave."""
    _, _, *module = committing(database, first, 100_000, 16)
    process = ForkedModule(module, environment=os.environ, folder=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline().encode() == READY
    lines = [process.stdout.readline() for _ in range(moments.randrange(1, 400))]
    process.kill()
    # What was in the pipe when it died was acknowledged as well.
    lines += process.stdout.readlines()
    return [int(line.removeprefix(ACKNOWLEDGEMENT.decode())) for line in lines if line.endswith("\n")]


async def assert_all_there(database: Path, acknowledged: list[int]) -> None:
    """Open the store as the next process would, and look for every acknowledged operation."""
    store: Store = SqliteStore(database)
    await store.open()
    missing = await store.read(
        lambda reader: [number for number in acknowledged if not is_complete(reader, key(number))]
    )
    recorded = await store.read(recorded_starts)
    await store.close()
    assert missing == []
    assert len(recorded) == len(set(recorded))
    assert {key(number).operation_id for number in acknowledged} <= set(recorded)
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def is_complete(reader: Reader, of: OperationKey) -> bool:
    """Whether the operation and its request are there."""
    return reader.operation(of) is not None and reader.envelope(of, EnvelopeSlot.REQUEST) is not None


def recorded_starts(reader: Reader) -> list[bytes]:
    """Return the ids of all operations whose start is in the audit log, as often as it is there."""
    events = reader.audit_events(AuditFilter(limit=1_000_000))
    return [AuditEvent.FromString(event.event).operation_started.operation.operation_id for event in events]
