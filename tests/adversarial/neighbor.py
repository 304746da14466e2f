"""A namespace that bends the rules: true keys and a true credential, and whatever headers it likes."""

import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import grpc.aio
import pytest

from isthmus.envelope.identity import random_message_id, random_operation_id
from isthmus.envelope.seal import RecipientKey, seal
from isthmus.payload.payload import Payload
from isthmus.testing import LocalGateway, LocalNamespace
from isthmus.testing.local_gateway import TRUST_DOMAIN
from isthmus.v1 import (
    audit_service_pb2_grpc,
    endpoint_service_pb2_grpc,
    key_service_pb2_grpc,
    namespace_service_pb2_grpc,
    operation_service_pb2_grpc,
    worker_service_pb2_grpc,
)
from isthmus.wire.header import Direction, Header
from isthmus.wire.names import NamespaceName, OperationId

if TYPE_CHECKING:
    # The stub files know them, the generated modules do not.
    from isthmus.v1.audit_service_pb2_grpc import AuditServiceAsyncStub
    from isthmus.v1.endpoint_service_pb2_grpc import EndpointServiceAsyncStub
    from isthmus.v1.key_service_pb2_grpc import KeyServiceAsyncStub
    from isthmus.v1.namespace_service_pb2_grpc import NamespaceServiceAsyncStub
    from isthmus.v1.operation_service_pb2_grpc import OperationServiceAsyncStub
    from isthmus.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub

VICTIM, OWNER, MALLORY = "data-team", "app-team", "mallory"
ENDPOINT, QUEUE = "payments", "payments-queue"
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """One namespace's hands."""

    about: LocalNamespace
    channel: grpc.aio.Channel

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Its credential."""
        return (("authorization", f"Bearer {self.about.credentials.token()}"),)

    @property
    def operations(self) -> "OperationServiceAsyncStub":
        """What callers use."""
        return cast(
            "OperationServiceAsyncStub",
            cast("object", operation_service_pb2_grpc.OperationServiceStub(self.channel)),
        )

    @property
    def workers(self) -> "WorkerServiceAsyncStub":
        """What workers use."""
        return cast(
            "WorkerServiceAsyncStub", cast("object", worker_service_pb2_grpc.WorkerServiceStub(self.channel))
        )

    @property
    def endpoints(self) -> "EndpointServiceAsyncStub":
        """The registry."""
        return cast(
            "EndpointServiceAsyncStub",
            cast("object", endpoint_service_pb2_grpc.EndpointServiceStub(self.channel)),
        )

    @property
    def keys(self) -> "KeyServiceAsyncStub":
        """The directory of keysets."""
        return cast("KeyServiceAsyncStub", cast("object", key_service_pb2_grpc.KeyServiceStub(self.channel)))

    @property
    def namespaces(self) -> "NamespaceServiceAsyncStub":
        """The namespaces."""
        return cast(
            "NamespaceServiceAsyncStub",
            cast("object", namespace_service_pb2_grpc.NamespaceServiceStub(self.channel)),
        )

    @property
    def audit(self) -> "AuditServiceAsyncStub":
        """The audit log."""
        return cast(
            "AuditServiceAsyncStub", cast("object", audit_service_pb2_grpc.AuditServiceStub(self.channel))
        )

    def header(self, recipient: LocalNamespace, **changes: Any) -> Header:
        """Return the header of a good request to a namespace, with changes."""
        now_ms = time.time_ns() // 1_000_000
        good = Header(
            direction=Direction.REQUEST,
            trust_domain=TRUST_DOMAIN,
            sender_namespace=NamespaceName(self.about.name),
            sender_key_id=self.about.keyring.signing_key().key_id,
            principal=f"{self.about.name}/test",
            recipient_namespace=NamespaceName(recipient.name),
            endpoint=ENDPOINT,
            service="Payments",
            operation="charge",
            operation_id=random_operation_id(),
            message_id=random_message_id(),
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + HOUR_MS,
            schedule_to_close_timeout_ms=HOUR_MS,
            recipients=(recipient.name,),
        )
        return good._replace(**changes)

    def seal(self, header: Header, recipient: LocalNamespace, data: bytes = b"{}") -> bytes:
        """Seal a message with any header to a namespace, signed by this one."""
        signer = self.about.keyring.signing_key()
        key = RecipientKey(namespace=header.recipients[0], key=recipient.keyring.sealing_key())
        return seal(header, Payload(content_type="", data=data), signer=signer, recipients=(key,)).envelope

    def answer(
        self, asked: Header, digest: bytes, recipient: LocalNamespace, **changes: Any
    ) -> tuple[Header, bytes]:
        """Seal the result of a request as if this namespace had handled it, with changes to the header."""
        good = Header(
            direction=Direction.RESULT,
            trust_domain=asked.trust_domain,
            sender_namespace=NamespaceName(self.about.name),
            sender_key_id=self.about.keyring.signing_key().key_id,
            principal=f"{self.about.name}/test",
            recipient_namespace=asked.sender_namespace,
            endpoint=asked.endpoint,
            service=asked.service,
            operation=asked.operation,
            operation_id=OperationId(asked.operation_id),
            message_id=random_message_id(),
            request_digest=digest,
            issued_at_ms=asked.issued_at_ms,
            recipients=(asked.sender_namespace,),
        )
        header = good._replace(**changes)
        return header, self.seal(header, recipient)


async def neighbor(gateway: LocalGateway, name: str) -> Neighbor:
    """Return the hands of a namespace of a local gateway."""
    about = await gateway.namespace(name)
    return Neighbor(about=about, channel=grpc.aio.insecure_channel(about.address))


async def refused(call: Awaitable[object]) -> grpc.StatusCode:
    """Return the status with which a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    code: grpc.StatusCode = caught.value.code()
    return code
