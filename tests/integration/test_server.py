"""A gateway starts safely, serves, drains and stops."""

import asyncio
import stat
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tests.integration.registry_gateway import development_config, health_of, reason_of, reflection_of, served

from isthmus.gateway.api.access import ACCESS
from isthmus.gateway.authn.development import DEVELOPMENT_KEY_FILE
from isthmus.gateway.config.settings import IssuerSettings, ListenSettings
from isthmus.gateway.core.errors import ConfigurationError, UnavailableError
from isthmus.gateway.server import Gateway
from isthmus.gateway.statement_key import STATEMENT_KEY_FILE, StatementKey
from isthmus.v1 import audit_service_pb2
from isthmus.v1 import namespace_service_pb2 as ns

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_keys_are_made_for_their_owner_only_when_first_started(tmp_path: Path) -> None:
    """Both keys of the gateway are private files, and stay the same."""
    data_dir = tmp_path / "data"
    async with served(data_dir):
        pass
    for name in (STATEMENT_KEY_FILE, DEVELOPMENT_KEY_FILE):
        assert stat.S_IMODE((data_dir / name).stat().st_mode) == 0o600
    before = StatementKey.load_or_create(data_dir).public_key
    async with served(data_dir):
        pass
    assert StatementKey.load_or_create(data_dir).public_key == before


@pytest.mark.parametrize("name", [STATEMENT_KEY_FILE, DEVELOPMENT_KEY_FILE])
async def test_start_is_refused_when_others_may_read_a_key(tmp_path: Path, name: str) -> None:
    """A key that was readable is no secret any more."""
    data_dir = tmp_path / "data"
    async with served(data_dir):
        pass
    (data_dir / name).chmod(0o644)
    with pytest.raises(ConfigurationError, match="open to others"):
        await Gateway.start(development_config(data_dir))


@pytest.mark.parametrize(
    "listen", [ListenSettings(address="0.0.0.0:0"), ListenSettings(address="gateway.example.com:0")]
)
async def test_start_is_refused_when_unsafe(tmp_path: Path, listen: ListenSettings) -> None:
    """The checks hold for gateways that are started in-process, too; nothing is left behind."""
    config = replace(development_config(tmp_path / "data"), listen=listen)
    with pytest.raises(ConfigurationError, match="loopback"):
        await Gateway.start(config)
    assert not (tmp_path / "data").exists()


async def test_start_is_refused_when_there_is_no_issuer(tmp_path: Path) -> None:
    """A gateway that nobody can authenticate to is a mistake."""
    config = replace(development_config(tmp_path / "data"), issuers=())
    with pytest.raises(ConfigurationError, match="there is no issuer"):
        await Gateway.start(config)


async def test_start_is_refused_when_a_key_file_is_none(tmp_path: Path) -> None:
    """The keys of every issuer are read before anything is served."""
    (tmp_path / "key.pem").write_text("no key", encoding="utf-8")
    issuer = IssuerSettings(
        issuer="https://i", algorithm="EdDSA", audience="a", namespace="x", key_file=tmp_path / "key.pem"
    )
    config = replace(development_config(tmp_path / "data"), issuers=(issuer,))
    with pytest.raises(ConfigurationError, match="no public key"):
        await Gateway.start(config)


async def test_start_is_refused_when_an_rpc_is_planted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An RPC that nobody listed stops the gateway, and the store is released again."""
    table = {method: access for method, access in ACCESS.items() if not method.endswith("/GetKeyset")}
    with monkeypatch.context() as planted:
        planted.setattr("isthmus.gateway.server.ACCESS", table)
        with pytest.raises(ConfigurationError, match="KeyService/GetKeyset is served"):
            await Gateway.start(development_config(tmp_path / "data"))
    async with served(tmp_path / "data"):
        pass


async def test_second_gateway_is_refused_when_the_address_is_taken(tmp_path: Path) -> None:
    """Two gateways never share a port without knowing."""
    async with served(tmp_path / "one") as first:
        taken = ListenSettings(address=first.gateway.address)
        config = replace(development_config(tmp_path / "two"), listen=taken)
        with pytest.raises(UnavailableError, match="cannot listen"):
            await Gateway.start(config)


async def test_second_gateway_is_refused_when_the_store_is_taken(tmp_path: Path) -> None:
    """One store, one gateway."""
    async with served(tmp_path / "data"):
        with pytest.raises(UnavailableError):
            await Gateway.start(development_config(tmp_path / "data"))


async def test_health_is_public_when_asked(tmp_path: Path) -> None:
    """Load balancers have no credential; each service is known by its name."""
    async with served(tmp_path / "data") as running:
        health = health_of(running.channel)
        for service in ("", "isthmus.v1.OperationService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == SERVING


async def test_readiness_flips_when_the_gateway_drains(tmp_path: Path) -> None:
    """Load balancers hear of it before connections end; what is under way is finished."""
    async with served(tmp_path / "data") as running:
        health = health_of(running.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        stopping = asyncio.create_task(running.gateway.stop(30))
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()
        await stopping


async def test_tail_ends_cleanly_when_the_gateway_drains(tmp_path: Path) -> None:
    """Streams are asked to leave: a stop does not have to wait for its grace."""
    async with served(tmp_path / "data") as running:
        party = running.party("data-team")
        tail = party.audit.TailAuditEvents(
            audit_service_pb2.TailAuditEventsRequest(), metadata=party.metadata
        )
        await tail.read()
        await asyncio.wait_for(running.gateway.stop(60), 20)
        assert await tail.read() is grpc.aio.EOF
        assert (await tail.code()).name == "OK"


async def test_stop_cuts_off_when_called_twice(tmp_path: Path) -> None:
    """The second signal does not wait for who does not leave."""
    async with served(tmp_path / "data") as running:
        watch = health_of(running.channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        draining = asyncio.create_task(running.gateway.stop(600))
        assert (await watch.read()).status == NOT_SERVING
        await asyncio.wait_for(running.gateway.stop(), 20)
        await draining


async def test_reflection_lists_services_when_authenticated(tmp_path: Path) -> None:
    """Tools find the services; strangers do not."""
    async with served(tmp_path / "data") as running:
        stub = reflection_of(running.channel)
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        answers = [
            a async for a in stub.ServerReflectionInfo(iter(asked), metadata=running.party("x").metadata)
        ]
        names = {service.name for service in answers[0].list_services_response.service}
        assert {"isthmus.v1.OperationService", "grpc.health.v1.Health"} <= names
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            _ = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]
        assert reason_of(refused.value) == "CREDENTIAL_MISSING"


async def test_rpc_is_refused_before_its_request_is_parsed_when_unauthenticated(tmp_path: Path) -> None:
    """Strangers get no parser to play with: garbage and a good request get the same answer."""
    async with served(tmp_path / "data") as running:
        raw: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = running.channel.unary_unary(
            "/isthmus.v1.OperationService/StartOperation"
        )
        for body in (b"\xff" * 100, b""):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await raw(body)
            assert refused.value.code().name == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "path",
    [
        "/isthmus.v1.NamespaceService/whoami",
        "//isthmus.v1.NamespaceService/WhoAmI",
        "/isthmus.v1.NamespaceService/WhoAmI/",
        "/isthmus.v1.NamespaceService/%57hoAmI",
        "/isthmus.v2.NamespaceService/WhoAmI",
        "isthmus.v1.NamespaceService/WhoAmI",
    ],
)
async def test_rpc_does_not_exist_when_its_path_is_almost_right(tmp_path: Path, path: str) -> None:
    """There is one spelling of each path: the table cannot be walked around."""
    async with served(tmp_path / "data") as running:
        raw: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = running.channel.unary_unary(path)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await raw(b"", metadata=running.party("platform").metadata)
        assert refused.value.code().name in {"UNIMPLEMENTED", "INVALID_ARGUMENT"}


async def test_second_credential_is_refused_when_sent_over_the_wire(tmp_path: Path) -> None:
    """Two authorization entries arrive as two, and neither is used."""
    async with served(tmp_path / "data") as running:
        party = running.party("data-team")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await party.namespaces.WhoAmI(ns.WhoAmIRequest(), metadata=party.metadata * 2)
        assert reason_of(refused.value) == "CREDENTIAL_REPEATED"


async def test_large_token_is_refused_by_us_when_it_fits_the_metadata(tmp_path: Path) -> None:
    """The limit is ours and says so; gRPC's own does not hit before it."""
    async with served(tmp_path / "data") as running:
        party = running.party("data-team")
        token = "a" * 9000
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await party.namespaces.WhoAmI(
                ns.WhoAmIRequest(), metadata=(("authorization", f"Bearer {token}"),)
            )
        assert reason_of(refused.value) == "TOKEN_TOO_LARGE"
