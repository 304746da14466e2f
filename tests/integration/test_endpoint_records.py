"""Signed endpoint records at a real gateway: who may publish what, and what it does to calls."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.echo import Echo, EchoHandler

from isthmus.client import Client
from isthmus.client.engine import now_ms
from isthmus.client.errors import (
    ConflictError,
    GatewayError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
)
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.record_publication import sign_record
from isthmus.testing import LocalGateway
from isthmus.v1 import audit_pb2, audit_service_pb2, audit_service_pb2_grpc, endpoint_service_pb2_grpc
from isthmus.v1 import endpoint_service_pb2 as pb
from isthmus.wire.endpoint_record import EndpointRecord
from isthmus.wire.trust_statement import SignedStatement, signed_statement_message

OWNER, CALLER, NEW = "app-team", "data-team", "ai-team"


@pytest.fixture
async def gateway() -> AsyncIterator[LocalGateway]:
    """A gateway with an endpoint that nothing is signed about."""
    async with LocalGateway() as running:
        await running.endpoint("echo", namespace=OWNER, allow=[CALLER])
        await running.namespace(CALLER)
        yield running


async def ask(gateway: LocalGateway, namespace: str, method: str, request: object) -> Any:  # noqa: ANN401
    """Make a call as a namespace. Raises GatewayError."""
    connection = gateway._connect(namespace)
    try:
        stub: Any = endpoint_service_pb2_grpc.EndpointServiceStub(connection.channel)
        return await connection.call(getattr(stub, method), request, timeout_seconds=10)
    finally:
        await connection.close()


def first(gateway: LocalGateway, **changes: Any) -> EndpointRecord:
    """Return a first record."""
    known: dict[str, Any] = {
        "trust_domain": gateway._trust_domain,
        "namespace": OWNER,
        "endpoint": "echo",
        "version": 1,
        "previous_hash": b"",
        "issued_at_ms": now_ms(),
        "expires_at_ms": now_ms() + 86_400_000,
        "task_queue": "echo",
        **changes,
    }
    return EndpointRecord(**known)


def after(record: EndpointRecord, **changes: Any) -> EndpointRecord:
    """Return the record that follows."""
    named = SignedStatement(statement=record.encode()).hash
    return replace(record, **{"version": record.version + 1, "previous_hash": named, **changes})


async def publish(
    gateway: LocalGateway, record: EndpointRecord, *, by: str = OWNER, signer: HybridPrivateKey | None = None
) -> pb.Endpoint:
    """Publish a record. Raises GatewayError."""
    key = signer or (await gateway.namespace(OWNER)).keyring.signer_key()
    request = pb.PublishEndpointRecordRequest(record=signed_statement_message(sign_record(record, key)))
    answer: pb.PublishEndpointRecordResponse = await ask(gateway, by, "PublishEndpointRecord", request)
    return answer.endpoint


async def fetched(gateway: LocalGateway, by: str) -> list[int]:
    """Return the versions of the records that a namespace is shown, the newest first."""
    request = pb.GetEndpointRecordRequest(name="echo", include_earlier=True)
    answer = (await ask(gateway, by, "GetEndpointRecord", request)).record
    if not answer.record.statement:
        return []
    statements = [answer.record.statement, *reversed(answer.earlier)]
    return [EndpointRecord.decode(statement).version for statement in statements]


async def logged(gateway: LocalGateway, kind: str, by: str = OWNER) -> list[audit_pb2.AuditEvent]:
    """Return what the log says to a namespace."""
    connection = gateway._connect(by)
    stub: Any = audit_service_pb2_grpc.AuditServiceStub(connection.channel)
    wanted = audit_service_pb2.QueryAuditEventsRequest(filter=audit_service_pb2.AuditFilter(types=[kind]))
    answer = await connection.call(stub.QueryAuditEvents, wanted, timeout_seconds=10)
    await connection.close()
    return [audit_pb2.AuditEvent.FromString(record.event) for record in answer.records]


async def test_record_is_shown_as_published_when_it_follows(gateway: LocalGateway) -> None:
    """With those before it, to owner and callers; published again it changes nothing; it is on record."""
    record = first(gateway)
    assert await fetched(gateway, CALLER) == []
    key = (await gateway.namespace(OWNER)).keyring.signer_key()
    for _ in range(2):
        await publish(gateway, record, signer=key)
    second = after(record, task_queue="green")
    assert (await publish(gateway, second)).task_queue == "green"
    for namespace in (OWNER, CALLER):
        assert await fetched(gateway, namespace) == [2, 1]
    events = await logged(gateway, "endpoint_record_published")
    found = [(e.endpoint_record_published.version, e.endpoint_record_published.task_queue) for e in events]
    assert sorted(found) == [(1, "echo"), (2, "green")]


async def test_record_is_hidden_when_the_endpoint_is(gateway: LocalGateway) -> None:
    """Who may not know of the endpoint does not learn what is signed about it."""
    await publish(gateway, first(gateway))
    await gateway.namespace(NEW)
    with pytest.raises(NotFoundError):
        await fetched(gateway, NEW)


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"namespace": CALLER}, InvalidRequestError, "ENDPOINT_RECORD"),
        ({"trust_domain": "elsewhere"}, InvalidRequestError, "ENDPOINT_RECORD"),
        (
            {"expires_at_ms": 2**52},
            InvalidRequestError,
            "ENDPOINT_RECORD",
        ),
        ({"issued_at_ms": 2**52, "expires_at_ms": 2**52 + 1}, InvalidRequestError, "ENDPOINT_RECORD"),
        ({"task_queue": ""}, InvalidRequestError, "ENDPOINT_RECORD"),
        ({"required_recipients": ("nobody",)}, NotFoundError, "NAMESPACE_NOT_FOUND"),
        ({"endpoint": "none"}, NotFoundError, "ENDPOINT_NOT_FOUND"),
        ({"endpoint": "-"}, InvalidRequestError, "WIRE_FORMAT"),
    ],
)
async def test_record_is_refused_when_it_makes_no_sense(
    gateway: LocalGateway,
    changes: dict[str, Any],
    error: type[GatewayError],
    reason: str,
) -> None:
    """What no peer would believe is not published."""
    with pytest.raises(error) as caught:
        await publish(gateway, first(gateway, **changes))
    assert caught.value.reason == reason
    assert await fetched(gateway, OWNER) == []


async def test_record_is_refused_when_others_signed_it_or_publish_it(gateway: LocalGateway) -> None:
    """Another key than the signer's; another namespace, which is on record; something that is no record."""
    with pytest.raises(InvalidRequestError):
        await publish(gateway, first(gateway), signer=HybridPrivateKey.generate())
    with pytest.raises(PermissionDeniedError):
        await publish(gateway, first(gateway), by=CALLER)
    (denied,) = await logged(gateway, "request_denied")
    assert denied.request_denied.endpoint == "echo"
    request = pb.PublishEndpointRecordRequest()
    request.record.statement = b"\xff"
    with pytest.raises(InvalidRequestError):
        await ask(gateway, OWNER, "PublishEndpointRecord", request)
    request.record.statement = bytes(70_000)
    with pytest.raises(InvalidRequestError, match="larger"):
        await ask(gateway, OWNER, "PublishEndpointRecord", request)


async def test_record_is_refused_when_it_does_not_follow(gateway: LocalGateway) -> None:
    """An older one, another one of this version, one that names another one before it."""
    record = first(gateway)
    second = after(record)
    await publish(gateway, record)
    await publish(gateway, second)
    third = after(second, previous_hash=bytes(32))
    reasons = {
        "ENDPOINT_RECORD_VERSION": [record, replace(second, task_queue="other")],
        "ENDPOINT_RECORD_PREVIOUS_HASH": [third],
    }
    for reason, records in reasons.items():
        for refused in records:
            with pytest.raises(ConflictError) as caught:
                await publish(gateway, refused)
            assert caught.value.reason == reason
    # A gateway that was set back goes on where the namespace is, and shows what is consecutive.
    await publish(gateway, after(replace(second, version=6)))
    assert await fetched(gateway, OWNER) == [7]


async def test_queue_changes_by_a_record_only_when_there_is_one(gateway: LocalGateway) -> None:
    """An update that contradicts what is signed is refused, and says what to do."""
    await publish(gateway, first(gateway))
    update = pb.UpdateEndpointRequest(endpoint=pb.Endpoint(name="echo", task_queue="other"))
    update.update_mask.paths.append("task_queue")
    with pytest.raises(PreconditionFailedError, match="isthmus endpoint publish echo") as caught:
        await ask(gateway, OWNER, "UpdateEndpoint", update)
    assert caught.value.reason == "ENDPOINT_RECORD"


async def test_record_holds_on_when_the_endpoint_is_made_anew(gateway: LocalGateway) -> None:
    """Whoever saw it believes nothing else."""
    await publish(gateway, first(gateway))
    await ask(gateway, OWNER, "DeleteEndpoint", pb.DeleteEndpointRequest(name="echo"))
    other = pb.CreateEndpointRequest(endpoint=pb.Endpoint(name="echo", task_queue="other"))
    with pytest.raises(PreconditionFailedError):
        await ask(gateway, OWNER, "CreateEndpoint", other)
    other.endpoint.task_queue = "echo"
    await ask(gateway, OWNER, "CreateEndpoint", other)
    assert await fetched(gateway, OWNER) == [1]


@asynccontextmanager
async def serving(
    gateway: LocalGateway, namespace: str = OWNER, queue: str = "echo"
) -> AsyncGenerator[Client]:
    """Serve, and return the client of the caller."""
    async with gateway.worker(namespace, task_queue=queue, nexus_service_handlers=[EchoHandler()]):
        yield await gateway.client(CALLER)


async def say(client: Client, text: str) -> str:
    """Call the endpoint."""
    return await client.create_nexus_client(endpoint="echo", service=Echo).execute_operation(Echo.say, text)


async def test_call_goes_on_when_a_record_is_published_meanwhile(gateway: LocalGateway) -> None:
    """Nobody heard of it: the gateway says so, the client seals again, the worker looks."""
    async with serving(gateway) as client:
        assert await say(client, "one") == "one"
        await gateway.sign_endpoint("echo", contract_hash=b"c" * 32)
        assert await say(client, "two") == "two"
        await gateway.sign_endpoint("echo", contract_hash=b"d" * 32)
        assert await say(client, "three") == "three"


async def test_new_owner_signs_from_the_beginning_when_an_endpoint_changed_hands(
    gateway: LocalGateway,
) -> None:
    """What the owner before signed says nothing of the new one's endpoint; a client moves its pin."""
    await gateway.sign_endpoint("echo", contract_hash=b"c" * 32)
    new = await gateway.namespace(NEW)
    async with serving(gateway) as client:
        assert await say(client, "old") == "old"
    await ask(gateway, OWNER, "OfferEndpoint", pb.OfferEndpointRequest(name="echo", namespace=NEW))
    await ask(gateway, NEW, "AcceptEndpoint", pb.AcceptEndpointRequest(name="echo", task_queue="theirs"))
    assert await fetched(gateway, NEW) == []
    record = first(gateway, namespace=NEW, task_queue="theirs")
    await publish(gateway, record, by=NEW, signer=new.keyring.signer_key())
    assert await fetched(gateway, CALLER) == [1]
    async with serving(gateway, NEW, "theirs") as client:
        with pytest.raises(PreconditionFailedError, match="belongs to ai-team"):
            await say(client, "moved")
        trust = (await gateway.namespace(CALLER)).trust
        trust.add(NEW, new.fingerprint, endpoints=("echo",), move_endpoints=True)
        assert await say(client, "new") == "new"


async def test_call_is_made_by_threads_when_something_is_signed(gateway: LocalGateway) -> None:
    """The sync client goes by records, too."""
    await gateway.sign_endpoint("echo", contract_hash=b"c" * 32)
    async with serving(gateway):
        client = await gateway.sync_client(CALLER)
        echo = client.create_nexus_client(endpoint="echo", service=Echo)
        assert await asyncio.to_thread(echo.execute_operation, Echo.say, "hello") == "hello"
    assert (await gateway.namespace(CALLER)).trust.seen_record(OWNER, "echo") is not None
