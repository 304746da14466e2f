"""What a namespace cannot do to another one's endpoints, headers, keys, names and records."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from tests.adversarial.neighbor import ENDPOINT, MALLORY, OWNER, QUEUE, VICTIM, Neighbor, refused
from tests.adversarial.neighborhood import Neighborhood, neighborhood

from isthmus.keys.founding import Founded, found
from isthmus.keys.statements import add_signature, next_keyset
from isthmus.v1 import (
    audit_service_pb2,
    endpoint_service_pb2,
    key_service_pb2,
    namespace_service_pb2,
    operation_service_pb2,
)
from isthmus.wire.trust_statement import SignedKeyset, SignedStatement, StatementKind, signed_keyset_message

CODE = grpc.StatusCode


@pytest.fixture
async def place() -> AsyncIterator[Neighborhood]:
    """A gateway with three namespaces."""
    async with neighborhood() as made:
        yield made


# --- starts --------------------------------------------------------------------------------------------


async def test_start_is_denied_when_the_endpoint_does_not_allow_it(place: Neighborhood) -> None:
    """Knowing the name of an endpoint is not being allowed to call it, and the owner sees who tried."""
    header = place.mallory.header(place.owner.about)
    request = operation_service_pb2.StartOperationRequest(
        envelope=place.mallory.seal(header, place.owner.about)
    )
    start = place.mallory.operations.StartOperation(request, metadata=place.mallory.metadata)
    assert await refused(start) is CODE.PERMISSION_DENIED
    seen = await place.owner.audit.QueryAuditEvents(
        audit_service_pb2.QueryAuditEventsRequest(
            filter=audit_service_pb2.AuditFilter(types=["request_denied"])
        ),
        metadata=place.owner.metadata,
    )
    assert any(b"mallory/test" in record.event for record in seen.records)


FORGED_HEADERS: dict[str, Callable[[Neighborhood], dict[str, Any]]] = {
    "sender": lambda _: {"sender_namespace": VICTIM},
    "sender_and_principal": lambda _: {"sender_namespace": VICTIM, "principal": f"{VICTIM}/test"},
    "principal": lambda _: {"principal": f"{VICTIM}/test"},
    "subject": lambda _: {"principal": f"{MALLORY}/somebody-else"},
    "trust_domain": lambda _: {"trust_domain": "other.isthmus.internal"},
    "recipient": lambda _: {"recipient_namespace": VICTIM, "recipients": (VICTIM,)},
    "own_recipient": lambda _: {"recipient_namespace": MALLORY, "recipients": (MALLORY,)},
    "expired": lambda _: {"issued_at_ms": 1, "expires_at_ms": 2},
    "from_the_future": lambda place: {
        "issued_at_ms": place.mallory.header(place.owner.about).issued_at_ms + 120_000,
        "expires_at_ms": place.mallory.header(place.owner.about).expires_at_ms + 120_000,
    },
}


@pytest.mark.parametrize("lie", FORGED_HEADERS)
async def test_start_is_refused_when_its_header_lies(place: Neighborhood, lie: str) -> None:
    """Who a header says that it is from, to and of must be what credential and endpoint say."""
    await allow(place, MALLORY)
    header = place.mallory.header(place.owner.about, **FORGED_HEADERS[lie](place))
    request = operation_service_pb2.StartOperationRequest(
        envelope=place.mallory.seal(header, place.owner.about)
    )
    start = place.mallory.operations.StartOperation(request, metadata=place.mallory.metadata)
    # A recipient that does not own the endpoint may have owned it: the caller is told that it moved.
    moved = "recipient" in lie
    assert await refused(start) is (CODE.FAILED_PRECONDITION if moved else CODE.INVALID_ARGUMENT)


async def test_operations_are_apart_when_two_namespaces_use_one_id(place: Neighborhood) -> None:
    """Somebody who learned an operation id cannot occupy it, attach to it, or see what it became."""
    theirs = await place.start()
    await allow(place, MALLORY)
    header = place.mallory.header(place.owner.about, operation_id=theirs.header.operation_id)
    answer = await place.mallory.operations.StartOperation(
        operation_service_pb2.StartOperationRequest(envelope=place.mallory.seal(header, place.owner.about)),
        metadata=place.mallory.metadata,
    )
    assert not answer.status.attached
    assert await place.is_open(theirs)
    again = await place.victim.operations.StartOperation(
        operation_service_pb2.StartOperationRequest(envelope=theirs.envelope), metadata=place.victim.metadata
    )
    assert again.status.attached
    assert again.status.request.signature in theirs.envelope


async def test_start_is_refused_when_the_bytes_are_another_namespaces(place: Neighborhood) -> None:
    """An envelope that was seen on its way cannot be sent by somebody else."""
    theirs = await place.start()
    await allow(place, MALLORY)
    request = operation_service_pb2.StartOperationRequest(envelope=theirs.envelope)
    start = place.mallory.operations.StartOperation(request, metadata=place.mallory.metadata)
    assert await refused(start) is CODE.INVALID_ARGUMENT


async def allow(place: Neighborhood, *names: str) -> None:
    """Let namespaces call the endpoint."""
    rules = [endpoint_service_pb2.AllowRule(namespace=name) for name in (VICTIM, *names)]
    await place.owner.endpoints.UpdateEndpoint(
        endpoint_service_pb2.UpdateEndpointRequest(
            endpoint=endpoint_service_pb2.Endpoint(name=ENDPOINT, allow=rules),
            update_mask=FieldMask(paths=["allow"]),
        ),
        metadata=place.owner.metadata,
    )


# --- endpoints -----------------------------------------------------------------------------------------


def create(who: Neighbor, name: str) -> Awaitable[object]:
    """Create an endpoint."""
    endpoint = endpoint_service_pb2.Endpoint(name=name, task_queue=QUEUE)
    request = endpoint_service_pb2.CreateEndpointRequest(endpoint=endpoint)
    return who.endpoints.CreateEndpoint(request, metadata=who.metadata)


async def test_endpoint_name_is_refused_when_another_namespace_has_it(place: Neighborhood) -> None:
    """The name of an endpoint belongs to whoever took it first."""
    assert await refused(create(place.mallory, ENDPOINT)) is CODE.ALREADY_EXISTS


async def test_endpoint_name_is_refused_when_another_namespace_deleted_it(place: Neighborhood) -> None:
    """What callers have pinned cannot be taken over after its end; its owner may have it back."""
    await place.owner.endpoints.DeleteEndpoint(
        endpoint_service_pb2.DeleteEndpointRequest(name=ENDPOINT), metadata=place.owner.metadata
    )
    assert await refused(create(place.mallory, ENDPOINT)) is CODE.ALREADY_EXISTS
    await create(place.owner, ENDPOINT)


@pytest.mark.parametrize("name", ["payments ", "payments\u200b", "p\u0430yments", "payments.", ""])
async def test_endpoint_name_is_refused_when_it_resembles_another(place: Neighborhood, name: str) -> None:
    """No blanks, no dots, no letters that only look the same."""
    assert await refused(create(place.mallory, name)) is CODE.INVALID_ARGUMENT


@pytest.mark.parametrize(("who", "code"), [("mallory", CODE.NOT_FOUND), ("victim", CODE.PERMISSION_DENIED)])
async def test_endpoint_is_not_changed_when_somebody_else_asks(
    place: Neighborhood, who: str, code: grpc.StatusCode
) -> None:
    """Strangers do not learn that it exists; its callers may look, and not touch."""
    party: Neighbor = getattr(place, who)
    update = endpoint_service_pb2.UpdateEndpointRequest(
        endpoint=endpoint_service_pb2.Endpoint(name=ENDPOINT, task_queue="stolen"),
        update_mask=FieldMask(paths=["task_queue"]),
    )
    delete = endpoint_service_pb2.DeleteEndpointRequest(name=ENDPOINT)
    assert await refused(party.endpoints.UpdateEndpoint(update, metadata=party.metadata)) is code
    assert await refused(party.endpoints.DeleteEndpoint(delete, metadata=party.metadata)) is code
    endpoint = await place.owner.endpoints.GetEndpoint(
        endpoint_service_pb2.GetEndpointRequest(name=ENDPOINT), metadata=place.owner.metadata
    )
    assert (endpoint.endpoint.namespace, endpoint.endpoint.task_queue) == (OWNER, QUEUE)


async def test_endpoint_stays_its_owners_when_the_update_names_another(place: Neighborhood) -> None:
    """Not even its owner can give an endpoint away by an update."""
    update = endpoint_service_pb2.UpdateEndpointRequest(
        endpoint=endpoint_service_pb2.Endpoint(name=ENDPOINT, namespace=MALLORY),
        update_mask=FieldMask(paths=["namespace"]),
    )
    update_call = place.owner.endpoints.UpdateEndpoint(update, metadata=place.owner.metadata)
    assert await refused(update_call) is CODE.INVALID_ARGUMENT


# --- keys ----------------------------------------------------------------------------------------------


def published(who: Neighbor, keyset: key_service_pb2.SignedKeyset) -> Awaitable[object]:
    """Publish a keyset."""
    request = key_service_pb2.PublishKeysetRequest(keyset=keyset)
    return who.keys.PublishKeyset(request, metadata=who.metadata)


def signed(of: Neighbor, *, by: Founded | None = None, **changes: Any) -> key_service_pb2.SignedKeyset:
    """Return the next keyset of a namespace with changes, under somebody's root or under its own."""
    now_ms = of.header(of.about).issued_at_ms
    keyring = of.about.keyring
    keyset = key_service_pb2.Keyset.FromString(next_keyset(keyring.contents, now_ms=now_ms).encode())
    for name, value in changes.items():
        setattr(keyset, name, value)
    content = keyset.SerializeToString(deterministic=True)
    contents = keyring.contents if by is None else by.contents
    signer = keyring.signer_key() if by is None else by.signer
    assert contents.delegation is not None
    statement = add_signature(StatementKind.KEYSET, SignedStatement(statement=content), signer)
    return signed_keyset_message(
        SignedKeyset(roots=contents.roots, delegation=contents.delegation, keyset=statement)
    )


def other_root(of: Neighbor) -> Founded:
    """Return a root, with a signer, that somebody made for another's namespace."""
    keyring = of.about.keyring
    return found(
        namespace=keyring.namespace,
        trust_domain=keyring.trust_domain,
        now_ms=of.header(of.about).issued_at_ms,
    )


async def test_keyset_is_refused_when_it_is_another_namespaces(place: Neighborhood) -> None:
    """Nobody publishes for another: not with its own root, and not what the other really signed."""
    forged = signed(place.victim, by=other_root(place.victim))
    assert await refused(published(place.mallory, forged)) is CODE.PERMISSION_DENIED
    genuine = signed(place.victim)
    assert await refused(published(place.mallory, genuine)) is CODE.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version": 1, "previous_hash": b""}, CODE.ABORTED),
        ({"version": 2**63}, CODE.INVALID_ARGUMENT),
        ({"previous_hash": bytes(32)}, CODE.ABORTED),
        ({"trust_domain": "other.isthmus.internal"}, CODE.INVALID_ARGUMENT),
        ({"expires_at_ms": 1}, CODE.INVALID_ARGUMENT),
        ({"expires_at_ms": 2**62}, CODE.INVALID_ARGUMENT),
        ({"issued_at_ms": 2**62}, CODE.INVALID_ARGUMENT),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, dict) else value.name.lower(),
)
async def test_keyset_is_refused_when_it_breaks_its_chain(
    place: Neighborhood, changes: dict[str, Any], code: grpc.StatusCode
) -> None:
    """No version is repeated, and the next one names the one before."""
    assert await refused(published(place.victim, signed(place.victim, **changes))) is code


async def test_keyset_is_refused_when_another_root_signed_it(place: Neighborhood) -> None:
    """A stolen credential does not replace the root."""
    other = signed(place.victim, by=other_root(place.victim))
    assert await refused(published(place.victim, other)) is CODE.FAILED_PRECONDITION
    mixed = signed(place.victim)
    mixed.keyset.CopyFrom(other.keyset)
    assert await refused(published(place.victim, mixed)) is CODE.INVALID_ARGUMENT


# --- records and namespaces ----------------------------------------------------------------------------


async def test_audit_log_is_denied_when_it_is_another_namespaces(place: Neighborhood) -> None:
    """Asked for another's events it refuses; asked for everything it shows one's own."""
    theirs = await place.start()
    for wanted in (
        audit_service_pb2.AuditFilter(namespace=VICTIM),
        audit_service_pb2.AuditFilter(namespace=OWNER, types=["operation_started"]),
    ):
        query = audit_service_pb2.QueryAuditEventsRequest(filter=wanted)
        asked = place.mallory.audit.QueryAuditEvents(query, metadata=place.mallory.metadata)
        assert await refused(asked) is CODE.PERMISSION_DENIED
        tail = place.mallory.audit.TailAuditEvents(
            audit_service_pb2.TailAuditEventsRequest(filter=wanted), metadata=place.mallory.metadata
        )
        assert await refused(tail.read()) is CODE.PERMISSION_DENIED
    for wanted in (
        audit_service_pb2.AuditFilter(),
        audit_service_pb2.AuditFilter(endpoint=ENDPOINT),
        audit_service_pb2.AuditFilter(operation_id=theirs.header.operation_id),
    ):
        found = await place.mallory.audit.QueryAuditEvents(
            audit_service_pb2.QueryAuditEventsRequest(filter=wanted), metadata=place.mallory.metadata
        )
        assert not any(VICTIM.encode() in record.event for record in found.records)


@pytest.mark.parametrize("who", ["mallory", "victim", "owner"])
async def test_namespace_is_not_created_when_a_team_asks(place: Neighborhood, who: str) -> None:
    """Only the platform creates namespaces."""
    party: Neighbor = getattr(place, who)
    request = namespace_service_pb2.CreateNamespaceRequest(name="annexed")
    create_call = party.namespaces.CreateNamespace(request, metadata=party.metadata)
    assert await refused(create_call) is CODE.PERMISSION_DENIED
