"""A disk that is full: nothing is lost, nothing is promised, and it works again as soon as there is space."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.contract.samples import key, operation, start

from isthmus.gateway.core.errors import UnavailableError
from isthmus.gateway.ports import AuditFilter, UnitOfWork
from isthmus.gateway.store.sqlite import SqliteStore

DISK_BYTES = 6 * 1024 * 1024
REQUEST = os.urandom(40_000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(directory)],  # noqa: S607
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here (it takes root): {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)  # noqa: S607


def starting(number: int) -> Callable[[UnitOfWork], None]:
    """Return the command that starts the operation with this number."""
    return lambda unit: start(unit, operation(number), REQUEST)


async def test_store_recovers_when_a_full_disk_has_space_again(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """UNAVAILABLE while it is full; everything acknowledged is there, before and after."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (DISK_BYTES * 2 // 3))
    store = SqliteStore(small_disk / "isthmus.db")
    await store.open()
    acknowledged: list[int] = []
    refused: list[UnavailableError] = []
    for number in range(1, 200):
        try:
            await store.transact(starting(number))
        except UnavailableError as error:
            refused.append(error)
            if len(refused) == 3:
                break
        else:
            acknowledged.append(number)
    assert len(refused) == 3
    assert {error.reason for error in refused} == {"STORE_UNAVAILABLE"}
    assert all(error.retry_after_seconds for error in refused)
    await assert_exactly(store, acknowledged)
    assert said(caplog) == ["the store cannot commit"]

    ballast.unlink()
    for number in range(1000, 1010):
        await store.transact(starting(number))
        acknowledged.append(number)
    assert said(caplog) == ["the store cannot commit", "the store commits again"]
    await assert_exactly(store, acknowledged)
    await store.close()

    again = SqliteStore(small_disk / "isthmus.db")
    await again.open()
    await assert_exactly(again, acknowledged)
    await again.close()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log says of the store, without causes and counts."""
    return [
        record.getMessage().partition(" (")[0]
        for record in caplog.records
        if record.name.startswith("isthmus.gateway.store")
    ]


async def assert_exactly(store: SqliteStore, acknowledged: list[int]) -> None:
    """Neither more nor less than what was acknowledged is visible."""
    numbers = [*range(1, 200), *range(1000, 1010)]
    there = await store.read(
        lambda reader: [number for number in numbers if reader.operation(key(number)) is not None]
    )
    assert there == acknowledged
    events = await store.read(lambda reader: reader.audit_events(AuditFilter(limit=1000)))
    assert len(events) == len(acknowledged)
