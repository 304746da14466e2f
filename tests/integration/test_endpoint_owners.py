"""Endpoints that go away or to another namespace: what is refused, who has to agree, who notices."""

from collections.abc import Awaitable
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.integration.echo import Echo, EchoHandler
from tests.integration.operation_calls import cancel, refusal, start
from tests.integration.operation_gateway import Client, RunningGateway, Worker
from tests.integration.sealed_messages import CALLER, ENDPOINT, HANDLER, cancel_of, outcome, request

from isthmus.client.errors import PreconditionFailedError
from isthmus.gateway.ports import AuditFilter, Reader
from isthmus.testing import LocalGateway
from isthmus.v1 import audit_pb2, endpoint_service_pb2_grpc
from isthmus.v1 import endpoint_service_pb2 as pb
from isthmus.wire.names import NamespaceName

NEW = NamespaceName("stranger")
IN_USE = (grpc.StatusCode.FAILED_PRECONDITION, "ENDPOINT_IN_USE")
DRAINING = (grpc.StatusCode.FAILED_PRECONDITION, "ENDPOINT_DRAINING")
MOVED = (grpc.StatusCode.FAILED_PRECONDITION, "ENDPOINT_MOVED")
UNKNOWN = (grpc.StatusCode.NOT_FOUND, "ENDPOINT_NOT_FOUND")
LONG = {"expires_at_ms": 2**52}


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Return code and reason of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def delete(client: Client, *, drain: bool = False) -> pb.DeleteEndpointResponse:
    """Delete the endpoint."""
    wanted = pb.DeleteEndpointRequest(name=ENDPOINT, drain=drain)
    return await client.endpoints.DeleteEndpoint(wanted, metadata=client.metadata)


async def keep(client: Client) -> pb.Endpoint:
    """Call it off."""
    wanted = pb.KeepEndpointRequest(name=ENDPOINT)
    return (await client.endpoints.KeepEndpoint(wanted, metadata=client.metadata)).endpoint


async def offer(client: Client, namespace: str = NEW, *, drain: bool = False, etag: str = "") -> pb.Endpoint:
    """Offer the endpoint."""
    wanted = pb.OfferEndpointRequest(name=ENDPOINT, namespace=namespace, drain=drain, etag=etag)
    return (await client.endpoints.OfferEndpoint(wanted, metadata=client.metadata)).endpoint


async def accept(client: Client, task_queue: str = "theirs", etag: str = "") -> pb.Endpoint:
    """Take over the endpoint."""
    wanted = pb.AcceptEndpointRequest(name=ENDPOINT, task_queue=task_queue, etag=etag)
    return (await client.endpoints.AcceptEndpoint(wanted, metadata=client.metadata)).endpoint


async def shown(client: Client) -> pb.Endpoint:
    """Return the endpoint as a namespace sees it."""
    wanted = pb.GetEndpointRequest(name=ENDPOINT)
    return (await client.endpoints.GetEndpoint(wanted, metadata=client.metadata)).endpoint


async def changes(gateway: RunningGateway, namespace: str) -> list[tuple[str, str]]:
    """Return what a namespace finds about the endpoint in the log, and who did it."""
    wanted = AuditFilter(namespace=namespace, types=frozenset({"endpoint_changed"}))
    stored = await gateway.store.read(lambda reader: reader.audit_events(wanted))
    events = [audit_pb2.AuditEvent.FromString(entry.event) for entry in stored]
    return [(event.endpoint_changed.change, event.actor_namespace) for event in events]


async def ends(worker: Worker) -> None:
    """Let the worker end its next task."""
    assert (await worker.answer(outcome(await worker.tasks.get()))).error == b""


# --- drain --------------------------------------------------------------------------------------------------


async def test_endpoint_drains_when_it_is_deleted_with_open_operations(
    operation_gateway: RunningGateway,
) -> None:
    """It takes no new operations, attaches to those that are open, and goes when they have ended."""
    gateway = operation_gateway
    caller, handler = gateway.client(CALLER), gateway.client(HANDLER)
    worker = await Worker(handler).hello(grant=1)
    envelope = request()
    await start(caller, envelope)
    assert await refused(delete(handler)) == IN_USE
    draining = (await delete(handler, drain=True)).endpoint
    assert draining.draining_since.ToSeconds() == round(gateway.clock.at.timestamp())
    assert (await shown(caller)).HasField("draining_since")
    assert await refused(start(caller, request())) == DRAINING
    assert (await start(caller, envelope)).attached
    await gateway.delete_drained()
    assert (await shown(handler)).name == ENDPOINT
    await ends(worker)
    await gateway.delete_drained()
    assert await refused(shown(handler)) == UNKNOWN
    assert await refused(start(caller, request())) == UNKNOWN
    assert await changes(gateway, HANDLER) == [("draining", HANDLER), ("deleted", "")]


async def test_endpoint_is_deleted_at_once_when_nothing_is_open(operation_gateway: RunningGateway) -> None:
    """There is nothing to wait for."""
    handler = operation_gateway.client(HANDLER)
    assert not (await delete(handler, drain=True)).HasField("endpoint")
    assert await refused(shown(handler)) == UNKNOWN


async def test_endpoint_stays_when_its_deletion_is_called_off(operation_gateway: RunningGateway) -> None:
    """It takes operations again; to keep what stays anyway changes nothing."""
    gateway = operation_gateway
    caller, handler = gateway.client(CALLER), gateway.client(HANDLER)
    await start(caller, request())
    await delete(handler, drain=True)
    for _ in range(2):
        assert not (await keep(handler)).HasField("draining_since")
    await start(caller, request())
    await gateway.delete_drained()
    assert [change for change, _ in await changes(gateway, HANDLER)] == ["draining", "kept"]


async def test_only_the_owner_decides_when_others_try(operation_gateway: RunningGateway) -> None:
    """A caller that knows the endpoint is denied, a stranger learns nothing."""
    gateway = operation_gateway
    caller, stranger = gateway.client(CALLER), gateway.client(NEW)
    denied = (grpc.StatusCode.PERMISSION_DENIED, "NOT_THE_OWNER")
    not_offered = (grpc.StatusCode.FAILED_PRECONDITION, "ENDPOINT_NOT_OFFERED")
    for act in (delete, keep, offer):
        assert await refused(act(caller)) == denied
        assert await refused(act(stranger)) == UNKNOWN
    assert await refused(accept(caller)) == not_offered
    assert await refused(accept(stranger)) == UNKNOWN


# --- the name -----------------------------------------------------------------------------------------------


async def test_name_is_free_for_others_when_400_days_are_over(operation_gateway: RunningGateway) -> None:
    """Not a day before; its owner may use it at once."""
    gateway = operation_gateway
    await delete(gateway.client(HANDLER))

    async def create(namespace: str) -> pb.Endpoint:
        client = gateway.client(namespace)
        wanted = pb.CreateEndpointRequest(endpoint=pb.Endpoint(name=ENDPOINT, task_queue="work"))
        return (await client.endpoints.CreateEndpoint(wanted, metadata=client.metadata)).endpoint

    gateway.advance(days=399)
    assert await refused(create(NEW)) == (grpc.StatusCode.ALREADY_EXISTS, "ENDPOINT_EXISTS")
    gateway.advance(days=1)
    assert (await create(NEW)).namespace == NEW


# --- transfer -----------------------------------------------------------------------------------------------


async def test_endpoint_changes_hands_when_both_agree(operation_gateway: RunningGateway) -> None:
    """The new owner serves it; callers are refused until they seal for it; both find it in the log."""
    gateway = operation_gateway
    caller, handler, new = gateway.client(CALLER), gateway.client(HANDLER), gateway.client(NEW)
    assert await refused(shown(new)) == UNKNOWN
    assert (await offer(handler)).offered_to == NEW
    assert (await shown(new)).offered_to == NEW
    assert (await shown(caller)).offered_to == ""
    accepted = await accept(new)
    assert (accepted.namespace, accepted.task_queue, accepted.offered_to) == (NEW, "theirs", "")
    assert await refused(shown(handler)) == UNKNOWN
    assert await refused(start(caller, request())) == MOVED
    worker = await Worker(new).hello(grant=1, task_queue="theirs")
    await start(caller, request(recipient_namespace=NEW, recipients=(NEW,)))
    assert (await worker.tasks.get()).caller_namespace == CALLER
    assert await changes(gateway, HANDLER) == [("offered", HANDLER), ("transferred", NEW)]
    assert await changes(gateway, NEW) == [("offered", HANDLER), ("transferred", NEW)]


async def test_transfer_waits_when_operations_are_open(operation_gateway: RunningGateway) -> None:
    """With a drain no new ones start meanwhile, and the endpoint is not deleted in the end."""
    gateway = operation_gateway
    caller, handler, new = gateway.client(CALLER), gateway.client(HANDLER), gateway.client(NEW)
    worker = await Worker(handler).hello(grant=1)
    await start(caller, request())
    await offer(handler, drain=True)
    assert await refused(start(caller, request())) == DRAINING
    assert await refused(accept(new)) == IN_USE
    await ends(worker)
    await gateway.delete_drained()
    assert not (await accept(new)).HasField("draining_since")


async def test_offer_counts_when_it_is_the_last_one(operation_gateway: RunningGateway) -> None:
    """To somebody else, or called off: the one before may not accept any more."""
    gateway = operation_gateway
    handler, new, other = gateway.client(HANDLER), gateway.client(NEW), gateway.client(CALLER)
    await offer(handler)
    await offer(handler, CALLER)
    assert await refused(accept(new)) == UNKNOWN
    await keep(handler)
    not_offered = (grpc.StatusCode.FAILED_PRECONDITION, "ENDPOINT_NOT_OFFERED")
    assert await refused(accept(other)) == not_offered


@pytest.mark.parametrize(
    ("namespace", "code", "reason"),
    [
        (HANDLER, grpc.StatusCode.INVALID_ARGUMENT, "ENDPOINT_OWNER"),
        ("nobody", grpc.StatusCode.NOT_FOUND, "NAMESPACE_NOT_FOUND"),
        ("", grpc.StatusCode.INVALID_ARGUMENT, "WIRE_FORMAT"),
    ],
)
@pytest.mark.parametrize("store_kind", ["sqlite"])
async def test_offer_is_refused_when_it_makes_no_sense(
    operation_gateway: RunningGateway, namespace: str, code: grpc.StatusCode, reason: str
) -> None:
    """To its own namespace, to one that does not exist, to none."""
    assert await refused(offer(operation_gateway.client(HANDLER), namespace)) == (code, reason)


async def test_acceptance_is_refused_when_it_makes_no_sense(operation_gateway: RunningGateway) -> None:
    """Without a task queue, or of another version than the one that was looked at."""
    await offer(operation_gateway.client(HANDLER))
    new = operation_gateway.client(NEW)
    invalid = (grpc.StatusCode.INVALID_ARGUMENT, "ENDPOINT_SETTINGS")
    assert await refused(accept(new, task_queue="")) == invalid
    assert await refused(accept(new, etag="old")) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


async def test_cancel_is_still_taken_when_the_endpoint_changed_hands(
    operation_gateway: RunningGateway,
) -> None:
    """It is for the namespace that handled the operation, whoever owns the endpoint now."""
    gateway = operation_gateway
    caller, handler = gateway.client(CALLER), gateway.client(HANDLER)
    worker = await Worker(handler).hello(grant=1)
    envelope = request()
    await start(caller, envelope)
    await ends(worker)
    await offer(handler)
    await accept(gateway.client(NEW))
    assert (await cancel(caller, cancel_of(envelope))).HasField("ending")


async def test_endpoint_is_as_before_when_it_changed_hands_twice(operation_gateway: RunningGateway) -> None:
    """Settings come along; nothing of an offer stays."""
    gateway = operation_gateway
    handler, new = gateway.client(HANDLER), gateway.client(NEW)

    def stored(reader: Reader) -> tuple[object, ...]:
        endpoint = reader.endpoint(ENDPOINT)
        assert endpoint is not None
        return endpoint.allow, endpoint.retry, endpoint.retention, endpoint.namespace, endpoint.offered_to

    before = await gateway.store.read(stored)
    await offer(handler)
    await accept(new)
    await offer(new, HANDLER)
    await accept(handler)
    assert await gateway.store.read(stored) == before


# --- callers ------------------------------------------------------------------------------------------------


async def test_client_calls_the_new_owner_when_it_moved_its_pin(local_gateway: LocalGateway) -> None:
    """Not before: a gateway cannot send a caller's data to somebody whom the caller does not trust for it."""
    async with local_gateway as gateway:
        await gateway.endpoint("echo", namespace="app-team", allow=["data-team"])
        about = await gateway.namespace("ai-team")
        client = await gateway.client("data-team")
        for namespace, method, request_ in (
            ("app-team", "OfferEndpoint", pb.OfferEndpointRequest(name="echo", namespace="ai-team")),
            ("ai-team", "AcceptEndpoint", pb.AcceptEndpointRequest(name="echo", task_queue="echo")),
        ):
            connection = gateway._connect(namespace)
            stub: Any = endpoint_service_pb2_grpc.EndpointServiceStub(connection.channel)
            await connection.call(getattr(stub, method), request_, timeout_seconds=10)
            await connection.close()
        async with gateway.worker("ai-team", task_queue="echo", nexus_service_handlers=[EchoHandler()]):
            echo = client.create_nexus_client(endpoint="echo", service=Echo)
            with pytest.raises(PreconditionFailedError, match="belongs to ai-team") as caught:
                await echo.execute_operation(Echo.say, "hello")
            assert caught.value.reason == "ENDPOINT_MOVED"
            trust = (await gateway.namespace("data-team")).trust
            trust.add("ai-team", about.fingerprint, endpoints=("echo",), move_endpoints=True)
            assert await echo.execute_operation(Echo.say, "hello") == "hello"
