"""A gateway that serves other keys, old keys and other owners: nothing is sealed to any of them."""

from collections.abc import AsyncIterator

import pytest
from tests.adversarial.deceived import ENDPOINT, MALLORY, Deceived, Payments, deceived

from isthmus.client import Client
from isthmus.client.engine import now_ms
from isthmus.keys.errors import KeysetRejectedError, TrustError
from isthmus.keys.statements import next_keyset, sign_keyset
from isthmus.keys.trust import TrustStore
from isthmus.v1 import key_service_pb2
from isthmus.wire.trust_statement import signed_keyset_message


@pytest.fixture
async def world() -> AsyncIterator[Deceived]:
    """Two teams and a liar, still honest."""
    async with deceived() as made:
        assert await made.payments.execute_operation(Payments.double, 1000) == 2000
        yield made


async def test_nothing_is_sealed_when_the_keyset_is_another_namespaces(world: Deceived) -> None:
    """A namespace's keys come from its pinned root; whatever else is served, no request leaves."""
    strange = sign_keyset(
        next_keyset(world.mallory.keyring.contents, now_ms=now_ms()),
        world.mallory.keyring.contents,
        world.mallory.keyring.signer_key(),
    )

    def about(answer: key_service_pb2.GetKeysetResponse) -> None:
        answer.keyset.CopyFrom(signed_keyset_message(strange))

    world.liar.about_keyset = about
    fresh = await world.connect(world.caller)
    sent = len(world.liar.requests)
    with pytest.raises(KeysetRejectedError):
        await fresh.create_nexus_client(ENDPOINT, Payments).execute_operation(Payments.double, 7)
    assert len(world.liar.requests) == sent


async def test_nothing_is_sealed_when_the_keyset_is_an_old_one(world: Deceived) -> None:
    """Once a newer keyset was seen, an older one is refused, in every process that shares the trust store."""
    first = key_service_pb2.GetKeysetResponse()
    world.liar.about_keyset = first.CopyFrom
    early = await world.connect(world.caller)
    assert await early.create_nexus_client(ENDPOINT, Payments).execute_operation(Payments.double, 1) == 2
    newer = sign_keyset(
        next_keyset(world.owner.keyring.contents, now_ms=now_ms()),
        world.owner.keyring.contents,
        world.owner.keyring.signer_key(),
    )

    def serve_newer(answer: key_service_pb2.GetKeysetResponse) -> None:
        answer.keyset.CopyFrom(signed_keyset_message(newer))

    world.liar.about_keyset = serve_newer
    later = await world.connect(world.caller)
    assert await later.create_nexus_client(ENDPOINT, Payments).execute_operation(Payments.double, 2) == 4
    world.liar.about_keyset = lambda answer: answer.CopyFrom(first)
    last = await world.connect(world.caller)
    with pytest.raises(KeysetRejectedError):
        await last.create_nexus_client(ENDPOINT, Payments).execute_operation(Payments.double, 3)


async def test_endpoint_is_not_redirected_when_the_registry_lies(world: Deceived) -> None:
    """Whose an endpoint is, the pin says: the registry is not asked, and without a pin nothing is sent."""
    world.liar.owner_of_endpoints = MALLORY
    assert await world.payments.execute_operation(Payments.double, 3) == 6
    bare = TrustStore(None, trust_domain=world.client.trust_domain)
    bare.add(MALLORY, world.mallory.fingerprint)
    unpinned = await world.stack.enter_async_context(
        await Client.connect(
            world.liar.address,
            keyring=world.caller.keyring,
            trust=bare,
            credentials=world.caller.credentials,
        )
    )
    sent = len(world.liar.requests)
    with pytest.raises(TrustError):
        await unpinned.create_nexus_client(ENDPOINT, Payments).execute_operation(Payments.double, 4)
    assert world.liar.looked_up == []
    assert len(world.liar.requests) == sent
