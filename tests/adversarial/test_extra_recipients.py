"""Who reads along: only with what the owner signed and what each end consented to, and nobody else."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.adversarial.deceived import CALLER, ENDPOINT, MALLORY, OWNER, QUEUE, Deceived, Payments, deceived
from tests.adversarial.relay import V1

from isthmus.client import Client, reading_along
from isthmus.client.engine import now_ms
from isthmus.client.errors import UnverifiedAnswerError
from isthmus.client.reading_along import message_of_others, messages_of_others
from isthmus.envelope.expected import Expected
from isthmus.envelope.key_material import EncryptionPublicKey
from isthmus.envelope.open import Opened, open_envelope
from isthmus.envelope.seal import RecipientKey
from isthmus.keys.errors import RecipientError
from isthmus.keys.record_publication import sign_record
from isthmus.transport.errors import GatewayError, NotFoundError
from isthmus.v1 import endpoint_service_pb2 as pb
from isthmus.v1 import endpoint_service_pb2_grpc as pb_grpc
from isthmus.wire.endpoint_record import EndpointRecord, SignedEndpointRecord, signed_record_message
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.header import OUTCOMES, Direction
from isthmus.wire.trust_statement import SignedStatement
from isthmus.worker.envelopes import TaskEnvelopes

ESCROW = "escrow-team"
GET_RECORD = V1 + "EndpointService/GetEndpointRecord"


@pytest.fixture
async def world() -> AsyncIterator[Deceived]:
    """Two teams; nobody serves yet. The owner signed that an escrow reads along, and everybody consented."""
    async with deceived(serving=False) as made:
        await made.honest.sign_endpoint(ENDPOINT, task_queue=QUEUE, required_recipients=[ESCROW])
        yield made


async def opened_by_escrow(world: Deceived, envelope: bytes, **expected: Any) -> Opened:
    """Open a message as the escrow does: by its own pins and its own key."""
    escrow = await world.honest.client(ESCROW)
    header = parse_envelope(envelope).header
    keys = await escrow.key_directory.keyset(header.sender_namespace)
    known: dict[str, Any] = {
        "trust_domain": escrow.trust_domain,
        "endpoint": ENDPOINT,
        "service": "Payments",
        "operation": "double",
        "operation_id": header.operation_id,
        "request_digest": b"",
        **expected,
    }
    return open_envelope(
        envelope,
        expected=Expected(**known),
        sender_keys=keys,
        decrypter=escrow.keyring,
        namespace=ESCROW,
        now_ms=now_ms(),
    )


async def test_escrow_opens_request_and_result_when_the_owner_signed_that_it_has_to(world: Deceived) -> None:
    """With its own key and its own pins; caller and handler notice nothing."""
    await world.serve(world.owner, world.handler)
    assert await world.payments.execute_operation(Payments.double, 21) == 42
    ((operation_id, (request, *_)),) = world.liar.requests.items()
    asked = await opened_by_escrow(
        world,
        request,
        directions=frozenset({Direction.REQUEST}),
        sender_namespace=CALLER,
        recipient_namespace=OWNER,
        recipients=(OWNER, ESCROW),
    )
    assert asked.payload.data == b"21"
    answered = await opened_by_escrow(
        world,
        world.liar.endings[operation_id].attested,
        directions=OUTCOMES,
        sender_namespace=OWNER,
        recipient_namespace=CALLER,
        recipients=tuple(sorted((CALLER, ESCROW))),
        request_digest=asked.digest,
    )
    assert answered.payload.data == b"42"


async def test_nothing_is_sealed_when_the_caller_did_not_consent(world: Deceived) -> None:
    """What the owner signed is not enough; the error says what to do."""
    world.caller.trust.set_recipient(ESCROW, consent=False)
    with pytest.raises(RecipientError, match=f"isthmus trust add {ESCROW} --as-recipient"):
        await world.payments.execute_operation(Payments.double, 1)
    assert world.liar.requests == {}


async def test_handler_does_not_run_when_its_team_did_not_consent(world: Deceived) -> None:
    """A stolen signer alone makes nobody read what the team answers."""
    world.owner.trust.set_recipient(ESCROW, consent=False)
    assert "--as-recipient" in await refusal(world, "consented")
    assert world.handler.calls == []


@pytest.mark.parametrize("required", [(), (ESCROW, MALLORY)], ids=["attack_12_added", "attack_13_removed"])
async def test_handler_does_not_run_when_recipients_are_not_those_that_were_signed(
    world: Deceived, required: tuple[str, ...]
) -> None:
    """A request with one more than its own namespace signed, or one less, is refused by the worker itself."""
    first = EndpointRecord.decode(await published(world))
    named = SignedStatement(statement=first.encode()).hash
    other = replace(first, version=2, previous_hash=named, required_recipients=required)
    signed = SignedEndpointRecord(record=sign_record(other, world.owner.keyring.signer_key()))
    answer = pb.GetEndpointRecordResponse(record=signed_record_message(signed)).SerializeToString()
    world.liar.about_unary[GET_RECORD] = lambda _: answer
    # The caller hears the truth; what it seals follows the record that the honest gateway has.
    honest = await world.honest.client(CALLER)
    assert "recipients" in await refusal(world, "check recipients", honest)
    assert world.handler.calls == []


async def test_outcome_is_refused_when_it_leaves_the_escrow_out(
    world: Deceived, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer is for whom the request was for: the caller takes none that is sealed to it alone."""

    async def only_the_caller(_: TaskEnvelopes, caller: RecipientKey, *__: object, **___: object) -> object:
        return (caller,)

    monkeypatch.setattr(TaskEnvelopes, "_with_readers", only_the_caller)
    await world.serve(world.owner, world.handler)
    with pytest.raises(UnverifiedAnswerError):
        await world.payments.execute_operation(Payments.double, 3)
    ((operation_id, _),) = world.liar.requests.items()
    assert parse_envelope(world.liar.endings[operation_id].attested).header.recipients == (CALLER,)


async def test_escrow_goes_through_what_it_can_open_when_it_checks(world: Deceived) -> None:
    """Requests and answers of others, and nothing else; whoever is no recipient gets nothing."""
    await world.serve(world.owner, world.handler)
    assert await world.payments.execute_operation(Payments.double, 21) == 42
    escrow = await world.honest.client(ESCROW)
    found = [one async for one in messages_of_others(escrow)]
    shown = {
        one.header.direction: one.payload.data
        for one in found
        if one.header is not None and one.payload is not None
    }
    assert shown == {Direction.REQUEST: b"21", Direction.RESULT: b"42"}
    assert len(found) == 2
    assert [one async for one in messages_of_others(await world.honest.client(CALLER))] == []
    assert await message_of_others(escrow, found[0].place) == found[0]
    stranger = await world.honest.client("somebody-else")
    with pytest.raises(NotFoundError):
        await message_of_others(stranger, found[0].place)
    with pytest.raises(GatewayError, match="a place is"):
        await message_of_others(escrow, "nowhere")


async def test_escrow_is_told_when_the_request_of_an_answer_is_hidden(
    world: Deceived, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the answer is to, it counts for no request that the escrow saw."""
    await world.serve(world.owner, world.handler)
    for number in (21, 4):
        assert await world.payments.execute_operation(Payments.double, number) == 2 * number
    escrow = await world.honest.client(ESCROW)
    first, *others = [place async for place in reading_along._places(escrow)]

    async def hiding(_: Client) -> AsyncIterator[str]:
        for place in others:
            yield place

    monkeypatch.setattr(reading_along, "_places", hiding)
    problems = [one.problem async for one in messages_of_others(escrow)]
    assert first not in others
    assert problems == ["the request that it belongs to is not shown", "", ""]


async def test_escrow_is_told_when_what_it_should_read_does_not_open(
    world: Deceived, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the gateway nor caller and handler can see it."""
    wrap = EncryptionPublicKey.wrap

    def badly(key: EncryptionPublicKey, message_key: bytes, info: bytes) -> bytes:
        return wrap(key, bytes(32) if ESCROW.encode() in info else message_key, info)

    monkeypatch.setattr(EncryptionPublicKey, "wrap", badly)
    await world.serve(world.owner, world.handler)
    assert await world.payments.execute_operation(Payments.double, 21) == 42
    escrow = await world.honest.client(ESCROW)
    problems = [one.problem async for one in messages_of_others(escrow)]
    assert problems == ["it does not open: body"] * 2


async def published(world: Deceived) -> bytes:
    """Return what the owner published."""
    connection = world.honest._connect(OWNER)
    stub: Any = pb_grpc.EndpointServiceStub(connection.channel)
    request = pb.GetEndpointRecordRequest(name=ENDPOINT)
    answer = await connection.call(stub.GetEndpointRecord, request, timeout_seconds=10)
    await connection.close()
    statement: bytes = answer.record.record.statement
    return statement


async def refusal(world: Deceived, about: str, client: Client | None = None) -> str:
    """Serve, call, and return what the worker says about why it refuses."""
    heard: asyncio.Queue[str] = asyncio.Queue()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.put_nowait(record.getMessage())

    listener = Listener()
    logging.getLogger("isthmus.worker").addHandler(listener)
    try:
        await world.serve(world.owner, world.handler)
        payments = (client or world.client).create_nexus_client(ENDPOINT, Payments)
        await payments.start_operation(Payments.double, 5)
        async with asyncio.timeout(20):
            while about not in (line := await heard.get()):
                pass
    finally:
        logging.getLogger("isthmus.worker").removeHandler(listener)
    return line
