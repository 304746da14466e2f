"""Refused credentials reach the audit log, late if need be."""

from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.gateway.manual_time import ManualClock

from isthmus.gateway.authn.failed_attempts import FailedAttempts
from isthmus.gateway.core.errors import UnavailableError
from isthmus.gateway.loops.failed_authentications import FailedAuthentications
from isthmus.gateway.ports import AuditFilter
from isthmus.gateway.store.sqlite import SqliteStore
from isthmus.v1 import audit_pb2


async def test_failures_are_recorded_later_when_the_store_was_away(tmp_path: Path) -> None:
    """What was counted while the store could not commit is committed when it can."""
    store, clock, failed = SqliteStore(tmp_path / "isthmus.db"), ManualClock(), FailedAttempts()
    loop = FailedAuthentications(store, clock=clock, failed=failed)
    failed.note(source="10.0.0.7", reason="TOKEN_EXPIRED", now=clock.now())
    clock.at += timedelta(seconds=1)
    with pytest.raises(UnavailableError):
        await loop.step()
    await store.open()
    await loop.step()
    await loop.step()
    (stored,) = await store.read(lambda reader: reader.audit_events(AuditFilter()))
    event = audit_pb2.AuditEvent.FromString(stored.event)
    assert event.authentication_failed.count == 1
    await store.close()
