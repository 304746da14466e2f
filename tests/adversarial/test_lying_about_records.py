"""A gateway that lies about what owners signed: records swapped, rolled back, doubled and withheld."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.adversarial.deceived import (
    ENDPOINT,
    MALLORY,
    OWNER,
    QUEUE,
    Deceived,
    Payments,
    deceived,
)
from tests.adversarial.relay import V1

from isthmus.client import Client
from isthmus.client.engine import now_ms
from isthmus.keys.errors import EndpointRecordRejectedError
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.record_publication import sign_record
from isthmus.testing import LocalNamespace
from isthmus.v1 import endpoint_service_pb2 as pb
from isthmus.wire.chain import ChainProblem
from isthmus.wire.endpoint_record import (
    EndpointRecord,
    SignedEndpointRecord,
    signed_record_message,
    signed_record_of,
)
from isthmus.wire.trust_statement import SignedStatement

GET_RECORD = V1 + "EndpointService/GetEndpointRecord"


@pytest.fixture
async def world() -> AsyncIterator[Deceived]:
    """Two teams and a liar, still honest; the owner signed that the endpoint is served as it is."""
    async with deceived() as made:
        await made.honest.sign_endpoint(ENDPOINT, task_queue=QUEUE)
        yield made


def serve(world: Deceived, signed: SignedEndpointRecord | None) -> None:
    """Let the liar show this, to everybody."""
    answer = pb.GetEndpointRecordResponse(record=None if signed is None else signed_record_message(signed))
    world.liar.about_unary[GET_RECORD] = lambda _: answer.SerializeToString()


async def honest_record(world: Deceived) -> SignedEndpointRecord:
    """Return what the owner published."""
    seen: list[bytes] = []

    def keep(answer: bytes) -> bytes:
        seen.append(answer)
        return answer

    world.liar.about_unary[GET_RECORD] = keep
    await call(await world.connect(world.caller))
    del world.liar.about_unary[GET_RECORD]
    return signed_record_of(pb.GetEndpointRecordResponse.FromString(seen[-1]).record)


async def call(client: Client) -> int:
    """Call the endpoint."""
    payments = client.create_nexus_client(ENDPOINT, Payments)
    return await payments.execute_operation(Payments.double, 1000)


async def refused(world: Deceived, about: LocalNamespace | None = None) -> ChainProblem:
    """Return why a process that starts afresh refuses; nothing leaves it."""
    client = await world.connect(about or world.caller)
    sent = len(world.liar.requests)
    with pytest.raises(EndpointRecordRejectedError) as caught:
        await call(client)
    assert len(world.liar.requests) == sent
    return caught.value.problem


def signed_by(owner: LocalNamespace, record: EndpointRecord) -> SignedEndpointRecord:
    """Let the owner's own signer sign a record that was never published."""
    return SignedEndpointRecord(record=sign_record(record, owner.keyring.signer_key()))


def next_of(signed: SignedEndpointRecord, **changes: Any) -> EndpointRecord:
    """Return a record that follows another one."""
    before = EndpointRecord.decode(signed.record.statement)
    following: dict[str, Any] = {
        "version": before.version + 1,
        "previous_hash": signed.record.hash,
        **changes,
    }
    return replace(before, **following)


async def test_call_goes_out_when_the_record_is_what_the_owner_signed(world: Deceived) -> None:
    """Each process asks once, and remembers what it saw."""
    record = await honest_record(world)
    assert world.caller.trust.seen_record(OWNER, ENDPOINT) is not None
    serve(world, record)
    assert await call(await world.connect(world.caller)) == 2000


async def test_record_is_refused_when_a_stranger_signed_it(world: Deceived) -> None:
    """Only the key to which the root of the pinned owner delegated has a say."""
    record = next_of(await honest_record(world))
    stranger = HybridPrivateKey.generate()
    serve(world, SignedEndpointRecord(record=sign_record(record, stranger)))
    assert await refused(world) is ChainProblem.NOT_THE_SIGNER


async def test_record_is_refused_when_a_byte_of_it_was_changed(world: Deceived) -> None:
    """The signature covers what was transmitted."""
    honest = await honest_record(world)
    changed = EndpointRecord.decode(honest.record.statement)
    statement = replace(changed, task_queue="elsewhere").encode()
    serve(world, replace(honest, record=replace(honest.record, statement=statement)))
    assert await refused(world) is ChainProblem.SIGNATURE


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"namespace": MALLORY}, ChainProblem.NAMESPACE),
        ({"endpoint": "invoices"}, ChainProblem.ENDPOINT),
        ({"trust_domain": "elsewhere.example"}, ChainProblem.TRUST_DOMAIN),
    ],
)
async def test_record_is_refused_when_it_is_about_something_else(
    world: Deceived, changes: dict[str, str], problem: ChainProblem
) -> None:
    """Of another namespace than the pin says, of another endpoint, of another deployment."""
    record = next_of(await honest_record(world), **changes)
    signer = world.mallory if "namespace" in changes else world.owner
    serve(world, signed_by(signer, record))
    assert await refused(world) is problem


async def test_record_is_refused_when_a_newer_one_was_seen(world: Deceived) -> None:
    """In every process that shares the trust store, for ever."""
    first = await honest_record(world)
    await world.honest.sign_endpoint(ENDPOINT, contract_hash=bytes(32))
    assert await call(await world.connect(world.caller)) == 2000
    serve(world, first)
    assert await refused(world) is ChainProblem.ROLLBACK


async def test_record_is_refused_when_another_one_has_its_number(world: Deceived) -> None:
    """An owner who shows two callers two records of one version is found out by who sees both."""
    honest = EndpointRecord.decode((await honest_record(world)).record.statement)
    serve(world, signed_by(world.owner, replace(honest, task_queue="elsewhere")))
    assert await refused(world) is ChainProblem.EQUIVOCATION


async def test_record_is_refused_when_it_does_not_name_the_one_before(world: Deceived) -> None:
    """The next one goes on from what was seen."""
    record = next_of(await honest_record(world), previous_hash=bytes(32))
    serve(world, signed_by(world.owner, record))
    assert await refused(world) is ChainProblem.CHAIN


async def test_record_is_refused_when_it_has_expired(world: Deceived) -> None:
    """A gateway can hide a newer one for so long and no longer."""
    record = next_of(await honest_record(world), issued_at_ms=now_ms() - 2000, expires_at_ms=now_ms() - 1000)
    serve(world, signed_by(world.owner, record))
    assert await refused(world) is ChainProblem.EXPIRED


async def test_nothing_goes_out_when_the_record_that_was_seen_is_withheld(world: Deceived) -> None:
    """Who once saw a record never again accepts that there is none, nor that there is no such endpoint."""
    await honest_record(world)
    serve(world, None)
    assert await refused(world) is ChainProblem.WITHHELD


async def test_task_is_refused_when_it_comes_from_another_queue_than_was_signed() -> None:
    """The worker goes by what its own namespace signed, not by where the gateway sends its work."""
    refusals: asyncio.Queue[str] = asyncio.Queue()
    listener = _Listener(refusals)
    logging.getLogger("isthmus.worker").addHandler(listener)
    async with deceived(serving=False) as world:
        first = await world.honest.sign_endpoint(ENDPOINT, task_queue=QUEUE)
        named = SignedStatement(statement=first.encode()).hash
        moved = replace(first, version=2, previous_hash=named, task_queue="elsewhere")
        serve(world, signed_by(world.owner, moved))
        try:
            await world.serve(world.owner, world.handler)
            await world.payments.start_operation(Payments.double, 5)
            async with asyncio.timeout(20):
                while "task-queue" not in await refusals.get():
                    pass
        finally:
            logging.getLogger("isthmus.worker").removeHandler(listener)
        assert world.handler.calls == []


class _Listener(logging.Handler):
    def __init__(self, heard: "asyncio.Queue[str]") -> None:
        super().__init__()
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.put_nowait(record.getMessage())
