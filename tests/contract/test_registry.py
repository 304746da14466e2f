"""Namespaces, endpoints and keysets."""

import msgspec
import pytest
from tests.contract.commands import inserting_namespaces, putting_endpoints, putting_records
from tests.contract.samples import (
    CALLER,
    ENDPOINT,
    HANDLER,
    NOW,
    endpoint,
    endpoint_record,
    keyset,
    namespace,
    seconds,
)

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.core.errors import AlreadyExistsError, PreconditionError
from isthmus.gateway.ports import Reader, Store, UnitOfWork


async def test_namespace_is_equal_when_it_is_read_back(store: Store) -> None:
    """By readers, and by commands in the same commit and in later ones."""

    def insert(unit: UnitOfWork) -> object:
        unit.insert_namespace(namespace())
        return unit.namespace(CALLER)

    assert await store.transact(insert) == namespace()
    assert await store.transact(lambda unit: unit.namespace(CALLER)) == namespace()
    assert await store.read(lambda reader: reader.namespace(CALLER)) == namespace()
    assert await store.read(lambda reader: reader.namespace("other")) is None
    assert await store.transact(lambda unit: unit.namespace("other")) is None


async def test_insert_is_refused_when_the_namespace_exists(store: Store) -> None:
    """A namespace is created once."""
    await store.transact(inserting_namespaces(namespace()))
    with pytest.raises(AlreadyExistsError):
        await store.transact(inserting_namespaces(namespace()))


async def test_namespaces_are_listed_by_name_when_paged(store: Store) -> None:
    """Each page continues after a name."""
    for name in ("c", "a", "d", "b"):
        await store.transact(inserting_namespaces(namespace(name)))
    page = await store.read(lambda reader: reader.list_namespaces("", 3))
    assert [entry.name for entry in page] == ["a", "b", "c"]
    page = await store.read(lambda reader: reader.list_namespaces("c", 3))
    assert [entry.name for entry in page] == ["d"]


@pytest.mark.parametrize(
    "stored",
    [
        endpoint(),
        endpoint(allow=(), record=None, deleted_at=NOW + seconds(0.000_001)),
        endpoint(description='"\n\x01é', draining_since=NOW, offered_to=CALLER),
    ],
)
async def test_endpoint_is_equal_when_it_is_read_back(store: Store, stored: Endpoint) -> None:
    """Every field survives; a deleted one is still found by its name."""

    def put(unit: UnitOfWork) -> object:
        unit.put_endpoint(endpoint(etag="replaced"))
        unit.put_endpoint(stored)
        return unit.endpoint(ENDPOINT)

    assert await store.transact(put) == stored
    assert await store.transact(lambda unit: unit.endpoint(ENDPOINT)) == stored
    assert await store.read(lambda reader: reader.endpoint(ENDPOINT)) == stored
    assert await store.read(lambda reader: reader.endpoint("other")) is None
    assert await store.transact(lambda unit: unit.endpoint("other")) is None


async def test_endpoint_is_replaced_when_it_is_put_again(store: Store) -> None:
    """The last one counts."""
    await store.transact(putting_endpoints(endpoint()))
    changed = endpoint(etag="e2", description="", task_queue="slow")
    await store.transact(putting_endpoints(changed))
    assert await store.read(lambda reader: reader.endpoint(ENDPOINT)) == changed


async def test_endpoints_are_listed_by_name_when_paged(store: Store) -> None:
    """Of one namespace or of all; deleted ones are left out."""
    for name, owner in (("d", HANDLER), ("b", CALLER), ("a", HANDLER), ("c", HANDLER)):
        await store.transact(putting_endpoints(endpoint(name, namespace=owner)))
    await store.transact(putting_endpoints(endpoint("aa", deleted_at=NOW)))

    async def names(of: str, after: str, limit: int) -> list[str]:
        page = await store.read(lambda reader: reader.list_endpoints(of, after, limit))
        return [entry.name for entry in page]

    assert await names("", "", 10) == ["a", "b", "c", "d"]
    assert await names("", "b", 1) == ["c"]
    assert await names(HANDLER, "", 2) == ["a", "c"]
    assert await names(HANDLER, "c", 2) == ["d"]
    assert await names("nobody", "", 2) == []


async def test_newest_keyset_is_found_when_there_are_several(store: Store) -> None:
    """The one with the highest version, for readers and for commands."""

    def publish(unit: UnitOfWork) -> object:
        unit.put_keyset(keyset(1))
        unit.put_keyset(keyset(2))
        return unit.keyset(CALLER)

    assert await store.transact(publish) == keyset(2)
    await store.transact(lambda unit: unit.put_keyset(keyset(10)))
    await store.transact(lambda unit: unit.put_keyset(keyset(3, of=HANDLER)))
    assert await store.transact(lambda unit: unit.keyset(CALLER)) == keyset(10)
    assert await store.read(lambda reader: reader.keyset(CALLER)) == keyset(10)
    assert await store.read(lambda reader: reader.keyset("other")) is None
    assert await store.transact(lambda unit: unit.keyset("other")) is None


async def test_keyset_is_refused_when_it_is_older(store: Store) -> None:
    """What is not the newest any more is not published again."""
    await store.transact(lambda unit: unit.put_keyset(keyset(2)))
    with pytest.raises(PreconditionError):
        await store.transact(lambda unit: unit.put_keyset(keyset(1)))


async def test_keyset_is_vouched_for_anew_when_it_is_renewed(store: Store) -> None:
    """The same version: what vouches for it is replaced, in one commit or in two."""
    renewed, again = (msgspec.structs.replace(keyset(2), message=text) for text in (b"later", b"last"))

    def publish(unit: UnitOfWork) -> None:
        unit.put_keyset(keyset(2))
        unit.put_keyset(renewed)

    await store.transact(publish)
    assert await store.read(lambda reader: reader.keyset(CALLER)) == renewed
    await store.transact(lambda unit: unit.put_keyset(again))
    assert await store.read(lambda reader: reader.keyset(CALLER)) == again


async def test_draining_endpoints_are_listed_when_they_are_not_deleted(store: Store) -> None:
    """By name, a page at a time."""
    await store.transact(
        putting_endpoints(
            endpoint("a", draining_since=NOW),
            endpoint("b"),
            endpoint("c", draining_since=NOW, offered_to=CALLER),
            endpoint("d", draining_since=NOW, deleted_at=NOW),
            endpoint("e", draining_since=NOW),
        )
    )

    def listed(reader: Reader, after: str, limit: int) -> list[str]:
        return [found.name for found in reader.list_draining_endpoints(after, limit)]

    assert await store.read(lambda reader: listed(reader, "", 2)) == ["a", "c"]
    assert await store.read(lambda reader: listed(reader, "c", 2)) == ["e"]


async def test_newest_record_of_an_endpoint_is_found_when_there_are_several(store: Store) -> None:
    """By commands in the same commit and in later ones; each owner's are apart; the others are kept."""

    def publish(unit: UnitOfWork) -> object:
        unit.put_endpoint(endpoint())
        unit.put_endpoint_record(endpoint_record(1))
        unit.put_endpoint_record(endpoint_record(2))
        return unit.endpoint_record(ENDPOINT, HANDLER)

    assert await store.transact(publish) == endpoint_record(2)
    await store.transact(lambda unit: unit.put_endpoint_record(endpoint_record(10)))
    await store.transact(lambda unit: unit.put_endpoint_record(endpoint_record(3, of=CALLER)))
    await store.transact(lambda unit: unit.put_endpoint_record(endpoint_record(5, name="other")))
    assert await store.transact(lambda unit: unit.endpoint_record(ENDPOINT, HANDLER)) == endpoint_record(10)
    found = await store.read(lambda reader: reader.endpoint_records(ENDPOINT, HANDLER, 2))
    assert list(found) == [endpoint_record(10), endpoint_record(2)]
    assert await store.read(lambda reader: reader.endpoint_records("none", HANDLER, 2)) == []
    assert await store.transact(lambda unit: unit.endpoint_record("none", HANDLER)) is None


async def test_record_of_an_endpoint_is_refused_when_it_is_no_newer(store: Store) -> None:
    """What was published stays what it is."""
    await store.transact(lambda unit: unit.put_endpoint_record(endpoint_record(2)))
    for version in (1, 2):
        with pytest.raises(PreconditionError):
            await store.transact(putting_records(endpoint_record(version)))
    found = await store.read(lambda reader: reader.endpoint_records(ENDPOINT, HANDLER, 9))
    assert list(found) == [endpoint_record(2)]
