"""A whole gateway in this process, and clients of it: what the tests of registry and server share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

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
        self.namespaces = cast("NamespaceServiceAsyncStub", NamespaceServiceStub(self.channel))
        self.endpoints = cast("EndpointServiceAsyncStub", EndpointServiceStub(self.channel))
        self.keys = cast("KeyServiceAsyncStub", KeyServiceStub(self.channel))
        self.audit = cast("AuditServiceAsyncStub", AuditServiceStub(self.channel))

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

    def party(self, namespace: str, lifetime: timedelta = timedelta(minutes=10)) -> Party:
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
async def served(data_dir: Path) -> AsyncIterator[Served]:
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
    metadata = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata[DETAILS_KEY])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    reason: str = info.reason
    return reason
