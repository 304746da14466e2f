"""Namespaces, endpoints, keysets and the audit log, over the wire."""

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.field_mask_pb2 import FieldMask
from tests.integration.registry_gateway import TRUST_DOMAIN, Party, Served, reason_of, served

from isthmus.keys.founding import Founded, found
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.statements import add_signature, renew_keyset
from isthmus.v1 import audit_pb2, audit_service_pb2, endpoint_service_pb2, key_service_pb2
from isthmus.v1 import namespace_service_pb2 as ns
from isthmus.wire.header import SUITE
from isthmus.wire.keyset import signing_key_id
from isthmus.wire.trust_statement import (
    SignedKeyset,
    SignedStatement,
    StatementKind,
    signed_keyset_message,
    signed_keyset_of,
    signed_statement_message,
    signed_statement_of,
)

pb = endpoint_service_pb2


def other_team() -> Founded:
    """Return keys for data-team with a root that nobody knows."""
    return found(namespace="data-team", trust_domain=TRUST_DOMAIN, now_ms=int(time.time() * 1000) - 1)


TEAM = other_team()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Served]:
    """A gateway that serves."""
    async with served(tmp_path / "data") as running:
        yield running


async def refused(call: Awaitable[Any]) -> tuple[str, str]:
    """Return code and reason of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, reason_of(caught.value)


async def create_endpoint(party: Party, name: str = "payments", **values: Any) -> pb.Endpoint:
    """Create an endpoint."""
    settings: dict[str, Any] = {"task_queue": "work", **values}
    wanted = pb.Endpoint(name=name, **settings)
    answer = await party.endpoints.CreateEndpoint(
        pb.CreateEndpointRequest(endpoint=wanted), metadata=party.metadata
    )
    return answer.endpoint


def update(party: Party, endpoint: pb.Endpoint, *paths: str) -> Awaitable[Any]:
    """Change an endpoint."""
    request = pb.UpdateEndpointRequest(endpoint=endpoint, update_mask=FieldMask(paths=paths))
    return party.endpoints.UpdateEndpoint(request, metadata=party.metadata)


def delete(party: Party, name: str = "payments", etag: str = "") -> Awaitable[Any]:
    """Delete an endpoint."""
    return party.endpoints.DeleteEndpoint(
        pb.DeleteEndpointRequest(name=name, etag=etag), metadata=party.metadata
    )


# --- namespaces
# ----------------------------------------------------------------------------------------------


async def test_namespace_is_created_once_when_repeated(gateway: Served) -> None:
    """The same again is the same; another description is another wish."""
    platform = gateway.party("platform")
    request = ns.CreateNamespaceRequest(name="ml-team", description="models")
    first = await platform.namespaces.CreateNamespace(request, metadata=platform.metadata)
    assert await platform.namespaces.CreateNamespace(request, metadata=platform.metadata) == first
    request.description = "others"
    call = platform.namespaces.CreateNamespace(request, metadata=platform.metadata)
    assert await refused(call) == ("ALREADY_EXISTS", "NAMESPACE_EXISTS")
    created = await platform.events(types=["namespace_created"])
    assert [event.namespace_created.namespace for event in created].count("ml-team") == 1


async def test_namespace_is_refused_when_not_by_the_platform(gateway: Served) -> None:
    """Only the platform creates namespaces; the attempt is on record."""
    data = gateway.party("data-team")
    call = data.namespaces.CreateNamespace(ns.CreateNamespaceRequest(name="x"), metadata=data.metadata)
    assert await refused(call) == ("PERMISSION_DENIED", "NOT_PLATFORM")
    (denied,) = await data.events(types=["request_denied"])
    assert denied.actor == "data-team/alice"
    assert denied.request_denied.action == "administer"


@pytest.mark.parametrize("name", ["", "Data", "a_b", "-a", "a" * 64, "a\u202e"])
async def test_namespace_is_refused_when_its_name_is_malformed(gateway: Served, name: str) -> None:
    """Names are checked before anything else."""
    platform = gateway.party("platform")
    call = platform.namespaces.CreateNamespace(
        ns.CreateNamespaceRequest(name=name), metadata=platform.metadata
    )
    assert await refused(call) == ("INVALID_ARGUMENT", "WIRE_FORMAT")


async def test_namespaces_are_listed_in_pages_when_many(gateway: Served) -> None:
    """Pages go on where the one before ended."""
    await gateway.create("a1", "a2", "a3")
    party = gateway.party("data-team")
    names: list[str] = []
    token = ""
    for _ in range(10):
        answer = await party.namespaces.ListNamespaces(
            ns.ListNamespacesRequest(page_size=2, page_token=token), metadata=party.metadata
        )
        names += [namespace.name for namespace in answer.namespaces]
        token = answer.next_page_token
        if not token:
            break
    assert names == ["a1", "a2", "a3", "app-team", "data-team"]


async def test_page_token_is_refused_when_made_up(gateway: Served) -> None:
    """A token that this gateway did not make is a client's mistake."""
    party = gateway.party("data-team")
    for token in ("%%%", "a" * 5000, "_w=="):
        call = party.namespaces.ListNamespaces(
            ns.ListNamespacesRequest(page_token=token), metadata=party.metadata
        )
        assert await refused(call) == ("INVALID_ARGUMENT", "PAGE_TOKEN")


async def test_principal_is_said_when_asked(gateway: Served) -> None:
    """A client seals with the name that the gateway has for it."""
    party = gateway.party("data-team")
    answer = await party.namespaces.WhoAmI(ns.WhoAmIRequest(), metadata=party.metadata)
    assert (answer.principal, answer.namespace, answer.platform) == ("data-team/alice", "data-team", False)
    assert answer.trust_domain == TRUST_DOMAIN


async def test_member_is_refused_when_its_namespace_does_not_exist(gateway: Served) -> None:
    """A credential alone makes no namespace; once created, it counts without a restart."""
    ghost = gateway.party("ghost-team")
    call = ghost.endpoints.ListEndpoints(pb.ListEndpointsRequest(), metadata=ghost.metadata)
    assert await refused(call) == ("PERMISSION_DENIED", "NAMESPACE_UNKNOWN")
    await gateway.create("ghost-team")
    answer = await ghost.endpoints.ListEndpoints(pb.ListEndpointsRequest(), metadata=ghost.metadata)
    assert not answer.endpoints


# --- endpoints
# -----------------------------------------------------------------------------------------------


async def test_endpoint_has_its_defaults_when_created(gateway: Served) -> None:
    """What is not said has the documented value; namespace, etag and times are the gateway's."""
    endpoint = await create_endpoint(gateway.party("data-team"), namespace="app-team", etag="mine")
    assert endpoint.namespace == "data-team"
    assert endpoint.etag not in {"", "mine"}
    assert endpoint.retry.initial_interval_ms == 1000
    assert endpoint.retry.max_interval_ms == 300_000
    assert endpoint.retry.on_exhausted == pb.ON_EXHAUSTED_PARK
    assert endpoint.max_schedule_to_close_ms == 24 * 3600 * 1000


async def test_name_is_taken_when_anybody_has_it(gateway: Served) -> None:
    """Names are unique in the whole deployment."""
    await create_endpoint(gateway.party("data-team"))
    for namespace in ("data-team", "app-team"):
        call = create_endpoint(gateway.party(namespace))
        assert await refused(call) == ("ALREADY_EXISTS", "ENDPOINT_EXISTS")


async def test_name_stays_reserved_when_its_endpoint_is_deleted(gateway: Served) -> None:
    """Nobody takes over a name that callers have pinned; its owner may use it again."""
    data, app = gateway.party("data-team"), gateway.party("app-team")
    first = await create_endpoint(data)
    await delete(data)
    assert await refused(create_endpoint(app)) == ("ALREADY_EXISTS", "ENDPOINT_EXISTS")
    assert (await create_endpoint(data)).etag != first.etag


@pytest.mark.parametrize(
    "values",
    [
        {"task_queue": ""},
        {"description": "a\u202eb"},
        {"description": "a" * 5000},
        {"allow": [pb.AllowRule(namespace="*")]},
        {"allow": [pb.AllowRule(namespace="")]},
        {"allow": [pb.AllowRule(namespace="app-team")] * 2},
        {"allow": [pb.AllowRule(namespace="app-team", service="a\nb")]},
        {"retry": pb.RetryPolicy(initial_interval_ms=10, max_interval_ms=5)},
        {"retry": pb.RetryPolicy(on_exhausted=9)},  # type: ignore[arg-type]
        {"max_payload_bytes": 2**31},
        {"max_schedule_to_close_ms": -1},
        {"max_operations_per_second": 100_001},
        {"max_open_operations": 100_001},
        {"retention_ms": 3_599_999},
        {"retention_ms": 365 * 86_400_000 + 1},
        {"retention_ms": -1},
        {"retention_ms": 2**62},
        {"fair_weights": [pb.FairWeight(namespace="data-team")]},
        {"fair_weights": [pb.FairWeight(namespace="data-team", weight=101)]},
        {"fair_weights": [pb.FairWeight(namespace="*", weight=2)]},
        {"fair_weights": [pb.FairWeight(namespace="data-team", weight=2)] * 2},
        {"fair_weights": [pb.FairWeight(namespace=f"team-{number}", weight=2) for number in range(1001)]},
    ],
)
async def test_endpoint_is_refused_when_a_setting_makes_no_sense(
    gateway: Served, values: dict[str, Any]
) -> None:
    """Every setting has its limits."""
    call = create_endpoint(gateway.party("data-team"), **values)
    assert await refused(call) == ("INVALID_ARGUMENT", "ENDPOINT_SETTINGS")


async def test_endpoint_changes_in_named_fields_when_updated(gateway: Served) -> None:
    """The mask says what changes; the rest stays, whatever the message holds."""
    data = gateway.party("data-team")
    created = await create_endpoint(data, description="old")
    wanted = pb.Endpoint(name="payments", etag=created.etag, description="new", task_queue="other")
    updated = (await update(data, wanted, "description")).endpoint
    assert (updated.description, updated.task_queue) == ("new", "work")
    assert updated.etag != created.etag
    *_, event = await data.events(types=["endpoint_changed"])
    assert (event.endpoint_changed.change, list(event.endpoint_changed.fields)) == (
        "updated",
        ["description"],
    )


async def test_update_is_aborted_when_somebody_was_faster(gateway: Served) -> None:
    """An etag of yesterday changes nothing; none at all takes what is there."""
    data = gateway.party("data-team")
    created = await create_endpoint(data)
    stale = pb.Endpoint(name="payments", etag=created.etag, description="x")
    await update(data, stale, "description")
    assert await refused(update(data, stale, "description")) == ("ABORTED", "ETAG_MISMATCH")
    assert await refused(delete(data, etag=created.etag)) == ("ABORTED", "ETAG_MISMATCH")
    stale.etag = ""
    await update(data, stale, "description")


@pytest.mark.parametrize("paths", [[], ["name"], ["namespace"], ["etag"], ["retry.max_attempts"], ["*"]])
async def test_update_is_refused_when_the_mask_names_what_cannot_change(
    gateway: Served, paths: list[str]
) -> None:
    """Only listed fields change."""
    data = gateway.party("data-team")
    await create_endpoint(data)
    call = update(data, pb.Endpoint(name="payments", task_queue="work"), *paths)
    assert await refused(call) == ("INVALID_ARGUMENT", "UPDATE_MASK")


async def test_endpoint_does_not_exist_when_asked_by_strangers(gateway: Served) -> None:
    """Who may not call it may not learn of it, and cannot tell it from none."""
    await create_endpoint(gateway.party("data-team"))
    app = gateway.party("app-team")
    for name in ("payments", "nothing"):
        call = app.endpoints.GetEndpoint(pb.GetEndpointRequest(name=name), metadata=app.metadata)
        assert await refused(call) == ("NOT_FOUND", "ENDPOINT_NOT_FOUND")
        assert await refused(delete(app, name)) == ("NOT_FOUND", "ENDPOINT_NOT_FOUND")


async def test_caller_sees_its_own_rules_when_allowed(gateway: Served) -> None:
    """A caller sees the endpoint and its own entry; who else calls is the owner's business."""
    await gateway.create("ml-team")
    rules = [pb.AllowRule(namespace="app-team", service="Payments"), pb.AllowRule(namespace="ml-team")]
    await create_endpoint(gateway.party("data-team"), allow=rules)
    app = gateway.party("app-team")
    answer = await app.endpoints.GetEndpoint(pb.GetEndpointRequest(name="payments"), metadata=app.metadata)
    assert list(answer.endpoint.allow) == rules[:1]
    listed = await app.endpoints.ListEndpoints(pb.ListEndpointsRequest(), metadata=app.metadata)
    assert [endpoint.name for endpoint in listed.endpoints] == ["payments"]


async def test_change_is_denied_and_audited_when_by_a_caller(gateway: Served) -> None:
    """A caller knows the endpoint and still cannot change it; the owner sees that it was tried."""
    await create_endpoint(gateway.party("data-team"), allow=[pb.AllowRule(namespace="app-team")])
    app = gateway.party("app-team")
    call = update(app, pb.Endpoint(name="payments", description="mine"), "description")
    assert await refused(call) == ("PERMISSION_DENIED", "NOT_THE_OWNER")
    assert await refused(delete(app)) == ("PERMISSION_DENIED", "NOT_THE_OWNER")
    for party in (app, gateway.party("data-team")):
        denied = await party.events(types=["request_denied"], endpoint="payments")
        assert {(event.actor, event.request_denied.rule) for event in denied} == {
            ("app-team/alice", "not-the-owner")
        }


async def test_endpoints_are_listed_in_pages_when_many(gateway: Served) -> None:
    """What cannot be seen leaves no gap and no hint."""
    data, app = gateway.party("data-team"), gateway.party("app-team")
    for number in range(6):
        allow = [pb.AllowRule(namespace="app-team")] if number % 2 else []
        await create_endpoint(data, f"e{number}", allow=allow)
    first = await app.endpoints.ListEndpoints(pb.ListEndpointsRequest(page_size=2), metadata=app.metadata)
    assert [endpoint.name for endpoint in first.endpoints] == ["e1", "e3"]
    second = await app.endpoints.ListEndpoints(
        pb.ListEndpointsRequest(page_size=2, page_token=first.next_page_token), metadata=app.metadata
    )
    assert ([endpoint.name for endpoint in second.endpoints], second.next_page_token) == (["e5"], "")


# --- keysets
# -------------------------------------------------------------------------------------------------


def keyset(**changes: Any) -> key_service_pb2.Keyset:
    """Return a keyset of data-team with one signing key."""
    now = int(time.time() * 1000)
    public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    key = key_service_pb2.PublicKey(
        key_id=signing_key_id(public),
        kind=key_service_pb2.KEY_KIND_SIGNING,
        state=key_service_pb2.KEY_STATE_ACTIVE,
        public_key=public,
        created_at_ms=now,
    )
    values: dict[str, Any] = {
        "trust_domain": TRUST_DOMAIN,
        "namespace": "data-team",
        "version": 1,
        "issued_at_ms": now,
        "expires_at_ms": now + 86_400_000,
        "suites": [SUITE],
        "keys": [key],
    }
    return key_service_pb2.Keyset(**{**values, **changes})


def sign(message: key_service_pb2.Keyset | bytes, by: Founded = TEAM) -> key_service_pb2.SignedKeyset:
    """Sign a keyset as a team's signer."""
    data = message if isinstance(message, bytes) else message.SerializeToString(deterministic=True)
    statement = add_signature(StatementKind.KEYSET, SignedStatement(statement=data), by.signer)
    assert by.contents.delegation is not None
    return signed_keyset_message(
        SignedKeyset(roots=by.contents.roots, delegation=by.contents.delegation, keyset=statement)
    )


def publish(party: Party, signed: key_service_pb2.SignedKeyset) -> Awaitable[Any]:
    """Publish a keyset."""
    return party.keys.PublishKeyset(
        key_service_pb2.PublishKeysetRequest(keyset=signed), metadata=party.metadata
    )


async def test_keyset_is_returned_as_published_when_fetched(gateway: Served) -> None:
    """Byte for byte, to every namespace; publishing it again changes nothing."""
    data, app = gateway.party("data-team"), gateway.party("app-team")
    signed = sign(keyset())
    await publish(data, signed)
    await publish(data, signed)
    answer = await app.keys.GetKeyset(
        key_service_pb2.GetKeysetRequest(namespace="data-team"), metadata=app.metadata
    )
    assert answer.keyset == signed
    (event,) = await data.events(types=["keyset_published"])
    assert event.keyset_published.version == 1


async def test_keysets_form_a_chain_when_published(gateway: Served) -> None:
    """The next one names the one before; a fork, a rollback or another root is refused."""
    data = gateway.party("data-team")
    first, other = sign(keyset()), sign(keyset())
    await publish(data, first)
    previous = hashlib.sha256(first.keyset.statement).digest()
    second = keyset(version=2, previous_hash=previous)
    wrong = {
        "fork": (other, ("ABORTED", "KEYSET_VERSION")),
        "hash": (
            sign(keyset(version=2, previous_hash=hashlib.sha256(other.keyset.statement).digest())),
            ("ABORTED", "KEYSET_PREVIOUS_HASH"),
        ),
        "root": (sign(second, other_team()), ("FAILED_PRECONDITION", "ROOT_CHANGED")),
    }
    for signed, expected in wrong.values():
        assert await refused(publish(data, signed)) == expected
    await publish(data, sign(second))
    assert await refused(publish(data, first)) == ("ABORTED", "KEYSET_VERSION")


async def test_chain_begins_anywhere_when_the_gateway_has_no_keyset(gateway: Served) -> None:
    """A gateway that lost its database, or is new, goes on where the namespace is."""
    data = gateway.party("data-team")
    third = sign(keyset(version=3, previous_hash=bytes(32)))
    await publish(data, third)
    await publish(data, third)
    assert await refused(publish(data, sign(keyset()))) == ("ABORTED", "KEYSET_VERSION")
    previous = hashlib.sha256(third.keyset.statement).digest()
    await publish(data, sign(keyset(version=4, previous_hash=previous)))
    events = await data.events(types=["keyset_published"])
    assert sorted(event.keyset_published.version for event in events) == [3, 4]


async def test_chain_goes_on_when_the_gateway_was_restored(gateway: Served) -> None:
    """What it forgot, peers may have seen: the namespace's next one follows that."""
    data = gateway.party("data-team")
    await publish(data, sign(keyset()))
    fourth = sign(keyset(version=4, previous_hash=bytes(32)))
    await publish(data, fourth)
    assert await refused(publish(data, sign(keyset(version=3, previous_hash=bytes(32))))) == (
        "ABORTED",
        "KEYSET_VERSION",
    )
    assert await refused(publish(data, sign(keyset(version=5, previous_hash=bytes(32))))) == (
        "ABORTED",
        "KEYSET_PREVIOUS_HASH",
    )


async def test_keyset_is_refused_when_it_is_anothers(gateway: Served) -> None:
    """A namespace publishes its own keys only; the attempt is on record."""
    app = gateway.party("app-team")
    assert await refused(publish(app, sign(keyset()))) == ("PERMISSION_DENIED", "NOT_THE_NAMESPACE")
    (denied,) = await app.events(types=["request_denied"])
    assert denied.request_denied.rule == "not-the-namespace"


NOW_MS = int(time.time() * 1000)
BAD_KEYSETS: dict[str, dict[str, Any]] = {
    "other_trust_domain": {"trust_domain": "evil.example"},
    "version_zero": {"version": 0},
    "previous_of_first": {"previous_hash": bytes(32)},
    "no_previous_of_second": {"version": 2},
    "expired": {"issued_at_ms": NOW_MS - 10_000, "expires_at_ms": NOW_MS - 1},
    "issued_ahead": {"issued_at_ms": NOW_MS + 3_600_000, "expires_at_ms": NOW_MS + 7_200_000},
    "lives_for_years": {"expires_at_ms": NOW_MS + 400 * 86_400_000},
    "no_suites": {"suites": []},
    "suite_twice": {"suites": [SUITE, SUITE]},
    "no_keys": {"keys": []},
}


@pytest.mark.parametrize("changes", BAD_KEYSETS.values(), ids=BAD_KEYSETS.keys())
async def test_keyset_is_refused_when_a_value_makes_no_sense(
    gateway: Served, changes: dict[str, Any]
) -> None:
    """What no peer would accept is not published."""
    call = publish(gateway.party("data-team"), sign(keyset(**changes)))
    assert await refused(call) == ("INVALID_ARGUMENT", "KEYSET")


@pytest.mark.parametrize(
    "changes",
    [
        {"key_id": bytes(16)},
        {"public_key": bytes(31)},
        {"kind": 0},
        {"kind": key_service_pb2.KEY_KIND_ENCRYPTION},
        {"state": 0},
        {"state": key_service_pb2.KEY_STATE_DECRYPT_ONLY},
        {"created_at_ms": 0},
    ],
)
async def test_keyset_is_refused_when_a_key_is_not_what_it_says(
    gateway: Served, changes: dict[str, Any]
) -> None:
    """Ids are computed again, kinds and states have to fit."""
    message = keyset()
    for name, value in changes.items():
        setattr(message.keys[0], name, value)
    call = publish(gateway.party("data-team"), sign(message))
    assert await refused(call) == ("INVALID_ARGUMENT", "KEYSET")


async def test_keyset_is_refused_when_not_canonical(gateway: Served) -> None:
    """One keyset has one serialization: an unknown field hides nothing in it."""
    data = keyset().SerializeToString(deterministic=True) + b"\xf8\x3f\x01"
    call = publish(gateway.party("data-team"), sign(data))
    assert await refused(call) == ("INVALID_ARGUMENT", "KEYSET")


async def test_keyset_is_refused_when_the_signature_is_wrong(gateway: Served) -> None:
    """The gateway is no authority on keys, and it does not relay what no root signed either."""
    signed = sign(keyset())
    signed.keyset.signatures[0].ml_dsa_65 = bytes(3309)
    call = publish(gateway.party("data-team"), signed)
    assert await refused(call) == ("INVALID_ARGUMENT", "KEYSET")


async def test_keyset_lives_longer_when_it_is_renewed(gateway: Served) -> None:
    """With the renewer's word for it; an earlier end is refused, and anything but a renewal is."""
    data = gateway.party("data-team")
    published = sign(keyset())
    await publish(data, published)
    assert TEAM.contents.renewer_secret is not None
    renewer = HybridPrivateKey.from_bytes(TEAM.contents.renewer_secret)
    now_ms = int(time.time() * 1000)
    later, earlier = (
        signed_keyset_message(renew_keyset(signed_keyset_of(published), renewer, now_ms=at_ms))
        for at_ms in (now_ms, now_ms - 60_000)
    )
    await publish(data, later)
    assert await refused(publish(data, earlier)) == ("ABORTED", "KEYSET_VERSION")
    assert await refused(publish(data, published)) == ("ABORTED", "KEYSET_VERSION")
    answer = await data.keys.GetKeyset(
        key_service_pb2.GetKeysetRequest(namespace="data-team"), metadata=data.metadata
    )
    assert answer.keyset == later
    as_signer = sign(keyset(version=2, previous_hash=hashlib.sha256(published.keyset.statement).digest()))
    statement = signed_statement_of(as_signer.keyset)
    as_signer.keyset.CopyFrom(
        signed_statement_message(
            add_signature(StatementKind.KEYSET, replace(statement, signatures=()), renewer)
        )
    )
    assert await refused(publish(data, as_signer)) == ("INVALID_ARGUMENT", "KEYSET")


async def test_gateway_key_is_the_same_when_asked_again(gateway: Served) -> None:
    """Peers may remember the gateway's key."""
    party = gateway.party("data-team")
    request = key_service_pb2.GetGatewayKeyRequest()
    first = await party.keys.GetGatewayKey(request, metadata=party.metadata)
    assert (len(first.public_key), first.trust_domain) == (32, TRUST_DOMAIN)
    assert await party.keys.GetGatewayKey(request, metadata=party.metadata) == first


# --- audit log
# -----------------------------------------------------------------------------------------------


async def test_namespace_sees_its_own_events_when_it_queries(gateway: Served) -> None:
    """Others' events do not exist for it, whatever it filters by; the platform sees all."""
    await create_endpoint(gateway.party("data-team"))
    app = gateway.party("app-team")
    assert [event.WhichOneof("event") for event in await app.events()] == ["namespace_created"]
    assert await app.events(endpoint="payments") == []
    assert len(await gateway.party("platform").events()) == 3


async def test_query_is_denied_when_for_another_namespace(gateway: Served) -> None:
    """Asking for others' events is refused, not answered with nothing."""
    app = gateway.party("app-team")
    assert await refused(app.events(namespace="data-team")) == ("PERMISSION_DENIED", "NOT_THE_NAMESPACE")


async def test_query_is_refused_when_a_type_is_unknown(gateway: Served) -> None:
    """A typing error does not look like an empty log."""
    app = gateway.party("app-team")
    assert await refused(app.events(types=["occurred_at_ms"])) == ("INVALID_ARGUMENT", "AUDIT_EVENT_TYPE")


async def test_tail_brings_events_when_they_are_committed(gateway: Served) -> None:
    """Past ones first, as many as asked for, then new ones as they come."""
    data = gateway.party("data-team")
    await create_endpoint(data)
    tail = data.audit.TailAuditEvents(
        audit_service_pb2.TailAuditEventsRequest(last=1), metadata=data.metadata
    )
    changes = []
    for name in ("", "second", "third"):
        if name:
            await create_endpoint(data, name)
        frame = await tail.read()
        assert isinstance(frame, audit_service_pb2.TailAuditEventsResponse)
        changes += [audit_pb2.AuditEvent.FromString(record.event) for record in frame.records]
    assert [event.endpoint_changed.endpoint for event in changes] == ["payments", "second", "third"]
    tail.cancel()


async def test_tail_ends_when_the_credential_expires(gateway: Served) -> None:
    """A stream does not outlive its credential; the client comes back with another one."""
    data = gateway.party("data-team", lifetime=timedelta(seconds=1))
    tail = data.audit.TailAuditEvents(audit_service_pb2.TailAuditEventsRequest(), metadata=data.metadata)
    frames = [frame async for frame in tail]
    assert len(frames) == 1
    assert (await tail.code()).name == "OK"


async def test_credential_failures_are_audited_in_aggregate_when_refused(
    gateway: Served, tmp_path: Path
) -> None:
    """Five refused credentials are counted, with their source and their reason."""
    bad = replace(gateway.party("data-team"), metadata=(("authorization", "Bearer x.y.z"),))
    for _ in range(5):
        call = bad.namespaces.WhoAmI(ns.WhoAmIRequest(), metadata=bad.metadata)
        assert (await refused(call))[0] == "UNAUTHENTICATED"
    await gateway.gateway.stop(1)
    async with served(tmp_path / "data") as again:
        events = await again.party("platform").events(types=["authentication_failed"])
    failures = [event.authentication_failed for event in events]
    assert sum(failure.count for failure in failures) == 5
    assert {(failure.source, failure.reason) for failure in failures} == {("127.0.0.1", "token_malformed")}
