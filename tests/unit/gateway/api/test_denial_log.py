"""Denials on record, and the bounds of it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.gateway.manual_time import START, ManualClock

from isthmus.gateway.api.denial_log import MAX_RECORDS_PER_PRINCIPAL, MAX_RECORDS_PER_WINDOW, DenialLog
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.audit_record import RequestDenied
from isthmus.gateway.ports import AuditFilter
from isthmus.gateway.store.sqlite import SqliteStore
from isthmus.wire.names import NamespaceName


def principal(number: int = 0) -> Principal:
    """Return somebody."""
    return Principal(
        namespace=NamespaceName("app-team"),
        subject=f"worker-{number}",
        issuer="test",
        authenticated_at=START,
        expires_at=START + timedelta(hours=1),
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An open store."""
    made = SqliteStore(tmp_path / "isthmus.db")
    await made.open()
    yield made
    await made.close()


async def recorded(store: SqliteStore) -> int:
    """Return how many denials are on record."""
    return len(await store.read(lambda reader: reader.audit_events(AuditFilter(limit=100_000))))


async def test_denial_is_recorded_once_a_second_when_repeated(store: SqliteStore) -> None:
    """A client that tries in a loop fills no disk, and every second shows that it still tries."""
    clock = ManualClock()
    denials = DenialLog(store, clock=clock)
    for _ in range(50):
        await denials.record(principal(), RequestDenied(action="start", rule="default-deny", endpoint="e"))
    assert await recorded(store) == 1
    clock.at += timedelta(seconds=1)
    await denials.record(principal(), RequestDenied(action="start", rule="default-deny", endpoint="e"))
    assert await recorded(store) == 2


async def test_denials_are_bounded_when_each_is_another(store: SqliteStore) -> None:
    """Nobody evades the bound by asking for something else each time."""
    denials = DenialLog(store, clock=ManualClock())
    for number in range(MAX_RECORDS_PER_PRINCIPAL * 2):
        denied = RequestDenied(action="start", rule="default-deny", endpoint=f"e{number}")
        await denials.record(principal(), denied)
    assert await recorded(store) == MAX_RECORDS_PER_PRINCIPAL


async def test_denials_are_bounded_when_each_is_by_another(store: SqliteStore) -> None:
    """Nor by being many."""
    denials = DenialLog(store, clock=ManualClock())
    for number in range(MAX_RECORDS_PER_WINDOW + 50):
        await denials.record(principal(number), RequestDenied(action="start", rule="default-deny"))
    assert await recorded(store) == MAX_RECORDS_PER_WINDOW
