"""Key holders: what a process said of its keys stays until it says something else, or for a day after."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from msgspec import structs
from tests.contract.conftest import StoreFactory
from tests.contract.samples import CALLER, HANDLER, NOW

from isthmus.gateway.commands import report_keys as command
from isthmus.gateway.commands.report_keys import REMEMBERED, report_keys
from isthmus.gateway.core.errors import ExhaustedError
from isthmus.gateway.ports import KeyHolder, Store

LEASE = timedelta(minutes=5)


def holder(number: int = 1, *, at: datetime = NOW, **changes: object) -> KeyHolder:
    """Return a holder with a value in every field."""
    made = KeyHolder(
        namespace=CALLER,
        holder_id=number.to_bytes(16),
        principal="data/etl",
        identity=f"host:{number}",
        key_ids=(b"a" * 16, b"\x00" * 16),
        reported_at=at,
        alive_until=at + LEASE,
    )
    return structs.replace(made, **changes)


async def report(store: Store, *holders: KeyHolder, now: datetime = NOW) -> None:
    """Let processes report, each on its own."""
    for said in holders:
        await store.transact(lambda unit, said=said: report_keys(unit, said, now=now))  # type: ignore[misc]


async def listed(
    store: Store, namespace: str = CALLER, after: bytes = b"", limit: int = 100
) -> Sequence[KeyHolder]:
    """Return what a namespace's holders said."""
    return await store.read(lambda reader: reader.list_key_holders(namespace, after, limit))


async def test_holder_is_returned_as_it_reported_when_the_store_is_opened_again(
    store: Store, store_factory: StoreFactory
) -> None:
    """Every field, also of one that has no keys at all."""
    said = [holder(1), holder(2, key_ids=(), identity="")]
    await report(store, *said)
    await store.close()
    again = store_factory()
    await again.open()
    assert list(await listed(again)) == said
    await again.close()


async def test_only_the_latest_report_counts_when_a_process_reports_again(store: Store) -> None:
    """One row a process."""
    later = holder(1, at=NOW + LEASE, key_ids=(b"b" * 16,))
    await report(store, holder(1), later)
    assert list(await listed(store)) == [later]


async def test_holders_are_listed_in_pages_when_there_are_many(store: Store) -> None:
    """By id, each once, and those of a namespace only: not even one with the same id in another one."""
    await report(store, *(holder(number) for number in (3, 1, 200, 2)))
    await report(store, holder(1, namespace=HANDLER))
    found: list[KeyHolder] = []
    while page := await listed(store, after=found[-1].holder_id if found else b"", limit=2):
        found += page
    assert [said.identity for said in found] == ["host:1", "host:2", "host:3", "host:200"]
    assert [said.namespace for said in await listed(store, HANDLER)] == [HANDLER]


async def test_holder_is_forgotten_when_it_is_gone_for_a_day(store: Store) -> None:
    """Whoever reports takes them along, whichever namespace they are of; nobody a moment too early."""
    await report(store, holder(1), holder(2, namespace=HANDLER), holder(3, alive_until=NOW + 2 * LEASE))
    end = NOW + LEASE + REMEMBERED
    await report(store, holder(4, at=end), now=end - timedelta(microseconds=1))
    assert len(await listed(store)) == 3
    await report(store, holder(4, at=end), now=end)
    assert [said.identity for said in await listed(store)] == ["host:3", "host:4"]
    assert not await listed(store, HANDLER)


async def test_new_holder_is_refused_when_the_namespace_has_too_many(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are known may go on reporting, and other namespaces do not mind."""
    monkeypatch.setattr(command, "MOST_HOLDERS", 2)
    await report(store, holder(1), holder(2))
    with pytest.raises(ExhaustedError):
        await report(store, holder(3))
    await report(store, holder(2, key_ids=()), holder(3, namespace=HANDLER))
    assert [said.key_ids for said in await listed(store)] == [holder().key_ids, ()]
