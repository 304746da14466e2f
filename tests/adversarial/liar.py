"""A gateway that forwards everything to an honest one, and lies where a test tells it to.

It sees what every gateway sees: sealed envelopes, and who sends them. It has no team's keys. Its statements
it signs itself, and it hands out its own key for them, as a real gateway that was taken over would.
"""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from tests.adversarial.relay import SESSION, V1, WORK, Line, serving

from isthmus.envelope.key_material import SigningPrivateKey
from isthmus.v1 import (
    endpoint_service_pb2,
    key_service_pb2,
    operation_pb2,
    operation_service_pb2,
    worker_service_pb2,
)
from isthmus.wire.envelope import SealedEnvelope, parse_envelope
from isthmus.wire.statement import statement_signed_bytes

KEYSET = V1 + "KeyService/GetKeyset"
GATEWAY_KEY = V1 + "KeyService/GetGatewayKey"
STATUSES = V1 + "OperationService/BatchGetOperationStatuses"
GET_ENDPOINT = V1 + "EndpointService/GetEndpoint"

AboutStatus = Callable[[operation_pb2.OperationStatus], None]
AboutWork = Callable[[worker_service_pb2.WorkResponse], None]


@dataclass(slots=True, kw_only=True)
class Liar:
    """What it knows, and where it lies: each hook changes an answer before it is passed on."""

    honest: grpc.aio.Channel
    address: str = ""
    key: SigningPrivateKey = field(default_factory=SigningPrivateKey.generate)
    about_status: AboutStatus | None = None
    about_work: AboutWork | None = None
    about_progress: Callable[[operation_service_pb2.GetProgressResponse], None] | None = None
    about_keyset: Callable[[key_service_pb2.GetKeysetResponse], None] | None = None
    owner_of_endpoints: str | None = None
    about_unary: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    """What becomes of the answers to a unary RPC, by its full name."""
    requests: dict[bytes, list[bytes]] = field(default_factory=dict)
    """Every request that was started through it, by operation id."""
    endings: dict[bytes, operation_pb2.Ending] = field(default_factory=dict)
    """Every true ending that came back through it, by operation id."""
    proofs: dict[bytes, Any] = field(default_factory=dict)
    """Every request proof that came back through it, by operation id."""
    progress: list[bytes] = field(default_factory=list)
    """Every true progress message that came back through it."""
    cancels: list[bytes] = field(default_factory=list)
    """Every signed cancel that was sent through it."""
    looked_up: list[str] = field(default_factory=list)
    """Endpoints whose owner it was asked for."""

    def request_of(self, operation_id: bytes) -> SealedEnvelope:
        """Return the first request that was started under an id."""
        return parse_envelope(self.requests[operation_id][0])

    def state(
        self,
        status: operation_pb2.OperationStatus,
        kind: "operation_pb2.StatementKind.ValueType",
        **changes: Any,
    ) -> None:
        """Replace an ending by a statement of its own, well signed, about the very request."""
        asked = self.request_of(status.operation_id)
        body = operation_pb2.StatementBody(
            kind=kind,
            trust_domain=asked.header.trust_domain,
            caller_namespace=asked.header.sender_namespace,
            operation_id=status.operation_id,
            request_digest=asked.digest,
            decided_at_ms=time.time_ns() // 1_000_000,
        )
        for name, value in changes.items():
            setattr(body, name, value)
        content = body.SerializeToString(deterministic=True)
        status.ending.statement.CopyFrom(
            operation_pb2.GatewayStatement(
                body=content,
                key_id=self.key.key_id,
                signature=self.key.sign(statement_signed_bytes(content)),
            )
        )

    # --- what passes through it --------------------------------------------------------------------------

    def opened(self, line: Line) -> None:
        """Every RPC is the same to it."""

    def closed(self, line: Line) -> None:
        """Every RPC is the same to it."""

    def hear(self, line: Line, message: bytes) -> tuple[bytes]:
        """Remember what a client sends."""
        method = line.method
        if method == SESSION:
            for call in operation_service_pb2.SessionRequest.FromString(message).calls:
                envelope = call.start.envelope or call.execute.start.envelope
                if call.cancel.envelope:
                    self.cancels.append(call.cancel.envelope)
                if envelope:
                    operation_id = parse_envelope(envelope).header.operation_id
                    self.requests.setdefault(operation_id, []).append(envelope)
        elif method == GET_ENDPOINT:
            asked = endpoint_service_pb2.GetEndpointRequest.FromString(message)
            self.looked_up.append(asked.name)
        return (message,)

    def tell(self, line: Line, message: bytes) -> tuple[bytes]:
        """Return an answer as its client gets it."""
        return (self._told(line.method, message),)

    def _told(self, method: str, message: bytes) -> bytes:
        if method in self.about_unary:
            return self.about_unary[method](message)
        if method == SESSION:
            return self._tell_caller(operation_service_pb2.SessionResponse.FromString(message))
        if method == WORK and self.about_work is not None:
            work = worker_service_pb2.WorkResponse.FromString(message)
            self.about_work(work)
            return work.SerializeToString()
        if method == GATEWAY_KEY:
            gateway = key_service_pb2.GetGatewayKeyResponse.FromString(message)
            gateway.public_key = self.key.public.raw
            return gateway.SerializeToString()
        if method == KEYSET and self.about_keyset is not None:
            keyset = key_service_pb2.GetKeysetResponse.FromString(message)
            self.about_keyset(keyset)
            return keyset.SerializeToString()
        if method == GET_ENDPOINT and self.owner_of_endpoints is not None:
            found = endpoint_service_pb2.GetEndpointResponse.FromString(message)
            found.endpoint.namespace = self.owner_of_endpoints
            return found.SerializeToString()
        return message

    def _tell_caller(self, frame: operation_service_pb2.SessionResponse) -> bytes:
        for reply in frame.replies:
            kind = reply.WhichOneof("reply")
            if kind == "progress" and reply.progress.progress:
                self.progress.append(reply.progress.progress)
                if self.about_progress is not None:
                    self.about_progress(reply.progress)
            if kind not in {"start", "execute", "wait", "cancel"}:
                continue
            status: operation_pb2.OperationStatus = getattr(reply, kind).status
            if status.HasField("ending"):
                self.endings[status.operation_id] = operation_pb2.Ending.FromString(
                    status.ending.SerializeToString()
                )
            if status.HasField("request"):
                self.proofs[status.operation_id] = type(status.request).FromString(
                    status.request.SerializeToString()
                )
            if self.about_status is not None:
                self.about_status(status)
        return frame.SerializeToString()


@asynccontextmanager
async def lying_gateway(honest: str) -> AsyncGenerator[Liar]:
    """Serve in front of an honest gateway."""
    async with grpc.aio.insecure_channel(honest) as channel:
        liar = Liar(honest=channel)
        async with serving(liar) as liar.address:
            yield liar
