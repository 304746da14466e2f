"""A whole gateway in this process, and clients of it: what the tests of registry and server share."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from isthmus.gateway.api.status import DETAILS_KEY
from isthmus.gateway.authn.development import DevelopmentIssuer
from isthmus.gateway.config.settings import GatewayConfig, IssuerSettings, ListenSettings
from isthmus.gateway.server import Gateway
from isthmus.v1 import audit_pb2, audit_service_pb2
from isthmus.v1.audit_service_pb2_grpc import AuditServiceStub
from isthmus.v1.endpoint_service_pb2_grpc import EndpointServiceStub
from isthmus.v1.key_service_pb2_grpc import KeyServiceStub
from isthmus.v1.namespace_service_pb2 import CreateNamespaceRequest
from isthmus.v1.namespace_service_pb2_grpc import NamespaceServiceStub

if TYPE_CHECKING:
    # The stub files know them, the generated modules do not.
    from isthmus.v1.audit_service_pb2_grpc import AuditServiceAsyncStub
    from isthmus.v1.endpoint_service_pb2_grpc import EndpointServiceAsyncStub
    from isthmus.v1.key_service_pb2_grpc import KeyServiceAsyncStub
    from isthmus.v1.namespace_service_pb2_grpc import NamespaceServiceAsyncStub

TRUST_DOMAIN = "example.com"
LIFETIME = timedelta(minutes=10)
Metadata = tuple[tuple[str, str], ...]


def development_config(data_dir: Path) -> GatewayConfig:
    """Return the configuration of a gateway for one machine."""
    return GatewayConfig(
        trust_domain=TRUST_DOMAIN,
        data_dir=data_dir,
        listen=ListenSettings(address="127.0.0.1:0"),
        issuers=(IssuerSettings(kind="development"),),
    )


@dataclass
class Party:
    """A client with the credential of a namespace."""

    channel: grpc.aio.Channel
    metadata: Metadata
    namespaces: "NamespaceServiceAsyncStub" = field(init=False)
    endpoints: "EndpointServiceAsyncStub" = field(init=False)
    keys: "KeyServiceAsyncStub" = field(init=False)
    audit: "AuditServiceAsyncStub" = field(init=False)

    def __post_init__(self) -> None:
        """Make the stubs."""
        self.namespaces = cast(
            "NamespaceServiceAsyncStub", cast("object", NamespaceServiceStub(self.channel))
        )
        self.endpoints = cast("EndpointServiceAsyncStub", cast("object", EndpointServiceStub(self.channel)))
        self.keys = cast("KeyServiceAsyncStub", cast("object", KeyServiceStub(self.channel)))
        self.audit = cast("AuditServiceAsyncStub", cast("object", AuditServiceStub(self.channel)))

    async def events(self, **wanted: object) -> list[audit_pb2.AuditEvent]:
        """Return the audit events that this party sees."""
        request = audit_service_pb2.QueryAuditEventsRequest(
            filter=audit_service_pb2.AuditFilter(**wanted)  # type: ignore[arg-type]
        )
        answer = await self.audit.QueryAuditEvents(request, metadata=self.metadata)
        return [audit_pb2.AuditEvent.FromString(record.event) for record in answer.records]


@dataclass
class Served:
    """A gateway that serves, and how to reach it."""

    gateway: Gateway
    channel: grpc.aio.Channel
    issuer: DevelopmentIssuer

    def party(self, namespace: str, lifetime: timedelta = LIFETIME) -> Party:
        """Return a client of a namespace."""
        token = self.issuer.mint(
            namespace=namespace, subject="alice", now=datetime.now(UTC), lifetime=lifetime
        )
        return Party(self.channel, (("authorization", f"Bearer {token}"),))

    async def create(self, *namespaces: str) -> None:
        """Create namespaces."""
        platform = self.party("platform")
        for name in namespaces:
            await platform.namespaces.CreateNamespace(
                CreateNamespaceRequest(name=name), metadata=platform.metadata
            )


@asynccontextmanager
async def served(data_dir: Path) -> AsyncGenerator[Served]:
    """Run a gateway, with the namespaces data-team and app-team."""
    gateway = await Gateway.start(development_config(data_dir))
    try:
        async with grpc.aio.insecure_channel(gateway.address) as channel:
            running = Served(gateway, channel, DevelopmentIssuer.load_or_create(data_dir))
            await running.create("data-team", "app-team")
            yield running
    finally:
        await gateway.stop(0)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason in the details of a status."""
    details = dict(error.trailing_metadata() or ())[DETAILS_KEY]
    assert isinstance(details, bytes)
    status = status_pb2.Status.FromString(details)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    reason: str = info.reason
    return reason


def health_of(channel: grpc.aio.Channel | grpc.Channel) -> Any:  # noqa: ANN401 - the package says nothing about its types
    """Return the health service of a gateway."""
    return health_pb2_grpc.HealthStub(channel)


def reflection_of(channel: grpc.aio.Channel) -> Any:  # noqa: ANN401 - nor does this one
    """Return the reflection service of a gateway."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub
    return stub(channel)
