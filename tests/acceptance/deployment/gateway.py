"""The gateway of a deployment: its configuration, its process, what the platform team registers in it."""

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.acceptance.deployment.deadline import await_that
from tests.acceptance.deployment.process import RunningProcess
from tests.acceptance.deployment.team import AUDIENCE, PLATFORM, TRUST_DOMAIN, Team

from isthmus.keys.statements import KEYSET_LIFETIME_MS, next_keyset, sign_keyset
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.connection import SyncConnection
from isthmus.v1 import (
    endpoint_service_pb2,
    endpoint_service_pb2_grpc,
    key_service_pb2,
    key_service_pb2_grpc,
    namespace_service_pb2,
    namespace_service_pb2_grpc,
)
from isthmus.wire.trust_statement import signed_keyset_message

PROGRAM = "tests.acceptance.deployment.gateway_program"
CALL_SECONDS = 30.0
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySite:
    """Where a gateway keeps its state and listens, across restarts."""

    folder: Path
    address: str
    forked: bool = False
    """Whether its gateways are forked: see ``RunningProcess``."""

    @property
    def config_file(self) -> Path:
        """Its configuration."""
        return self.folder / "isthmus.toml"

    @property
    def database(self) -> Path:
        """Its store."""
        return self.folder / "data" / "isthmus.db"

    @property
    def output(self) -> Path:
        """What it printed, in all its lives."""
        return self.folder / "output.log"

    def start(self, *before: str, program: str = PROGRAM) -> RunningProcess:
        """Start a gateway on it; ``before`` is a module, with arguments, that runs the gateway's."""
        module = [*before, program, str(self.config_file)]
        return RunningProcess(
            "gateway", module, environment={}, output=self.output, forked=self.forked and not before
        )

    def start_and_wait(self) -> RunningProcess:
        """Start a gateway, and return when it listens."""
        gateway = self.start()

        def listens() -> bool:
            assert gateway.exit_code is None, gateway.tail()
            host, _, port = self.address.rpartition(":")
            with socket.socket() as probe:
                return probe.connect_ex((host, int(port))) == 0

        await_that(listens, "the gateway listens", seconds=START_SECONDS)
        return gateway


def move_site(site: GatewaySite) -> GatewaySite:
    """Let the gateway listen elsewhere from its next start on; return where."""
    moved = replace(site, address=free_address())
    config = site.config_file.read_text(encoding="utf-8")
    site.config_file.write_text(config.replace(site.address, moved.address), encoding="utf-8")
    return moved


def free_address() -> str:
    """Return an address on this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def create_site(
    folder: Path,
    teams: Sequence[Team],
    *,
    lease_seconds: int = 30,
    more_config: str = "",
    forked: bool = False,
) -> GatewaySite:
    """Write the configuration of a gateway that believes the tokens of these teams, on a free port.

    ``more_config`` are further lines of its first section.
    """
    folder.mkdir(mode=0o700)
    site = GatewaySite(folder=folder, address=free_address(), forked=forked)
    parts = [
        f'trust_domain = "{TRUST_DOMAIN}"',
        f'data_dir = "{folder / "data"}"',
        f"lease_seconds = {lease_seconds}",
        "drain_seconds = 5",
        more_config,
        f'[listen]\naddress = "{site.address}"',
        '[log]\nlevel = "warning"\nformat = "text"',
        *(_issuer(team) for team in teams),
    ]
    site.config_file.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return site


def register(site: GatewaySite, *, platform: Team, teams: Sequence[Team]) -> None:
    """Create the namespaces and publish the keysets of teams, as soon as the gateway answers."""
    with_platform = _connect(site, platform)
    for team in teams:
        with_platform.call_retrying(
            lambda channel: namespace_service_pb2_grpc.NamespaceServiceStub(channel).CreateNamespace,
            namespace_service_pb2.CreateNamespaceRequest(name=team.namespace),
            timeout_seconds=CALL_SECONDS,
        )
    with_platform.close()
    for team in teams:
        publish(site, team)


def create_endpoint(
    site: GatewaySite, owner: Team, name: str, *, task_queue: str, callers: Sequence[Team]
) -> None:
    """Create an endpoint that other teams may call; its retries are quick."""
    connection = _connect(site, owner)
    endpoint = endpoint_service_pb2.Endpoint(
        name=name,
        task_queue=task_queue,
        allow=[endpoint_service_pb2.AllowRule(namespace=caller.namespace) for caller in callers],
        retry=endpoint_service_pb2.RetryPolicy(initial_interval_ms=100, max_interval_ms=1000),
        # What fails here are processes and networks: circuits would only make every fault last longer.
        circuit=endpoint_service_pb2.CircuitBreaker(off=True),
    )
    connection.call_retrying(
        lambda channel: endpoint_service_pb2_grpc.EndpointServiceStub(channel).CreateEndpoint,
        endpoint_service_pb2.CreateEndpointRequest(endpoint=endpoint),
        timeout_seconds=CALL_SECONDS,
    )
    connection.close()


def publish(site: GatewaySite, team: Team, *, lifetime_ms: int = KEYSET_LIFETIME_MS) -> int:
    """Publish the next keyset of a team; return when it ends, in Unix milliseconds."""
    keyring = team.open_keyring()
    keyset = next_keyset(keyring.contents, now_ms=time.time_ns() // 1_000_000, lifetime_ms=lifetime_ms)
    signed = sign_keyset(keyset, keyring.contents, keyring.signer_key())
    connection = _connect(site, team)
    connection.call_retrying(
        lambda channel: key_service_pb2_grpc.KeyServiceStub(channel).PublishKeyset,
        key_service_pb2.PublishKeysetRequest(keyset=signed_keyset_message(signed)),
        timeout_seconds=CALL_SECONDS,
    )
    connection.close()
    keyring.record_keyset(keyset.version, signed.hash)
    return keyset.expires_at_ms


def _connect(site: GatewaySite, team: Team) -> SyncConnection:
    return SyncConnection(ChannelSettings(address=site.address), team.tokens())


def _issuer(team: Team) -> str:
    is_platform = str(team.namespace == PLATFORM).lower()
    return f"""
[[issuers]]
kind = "jwt"
issuer = "{team.namespace}"
algorithm = "EdDSA"
audience = "{AUDIENCE}"
key_file = "{team.public_key_file}"
[[issuers.subjects]]
subject = "{team.namespace}"
namespace = "{team.namespace}"
platform = {is_platform}"""
