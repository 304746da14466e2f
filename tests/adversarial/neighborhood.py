"""Three namespaces at one gateway: one calls, one serves, and one means no good."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.adversarial.neighbor import ENDPOINT, MALLORY, OWNER, QUEUE, VICTIM, Neighbor, neighbor

from isthmus.testing import LocalGateway
from isthmus.v1 import operation_service_pb2, worker_service_pb2
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.header import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation that was started."""

    header: Header
    envelope: bytes
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighborhood:
    """A gateway with three namespaces; the endpoint is the owner's, and only the victim may call it."""

    gateway: LocalGateway
    victim: Neighbor
    owner: Neighbor
    mallory: Neighbor

    async def start(self) -> Operation:
        """Start an operation of the victim that nobody serves yet."""
        header = self.victim.header(self.owner.about)
        envelope = self.victim.seal(header, self.owner.about)
        await self.victim.operations.StartOperation(
            operation_service_pb2.StartOperationRequest(envelope=envelope), metadata=self.victim.metadata
        )
        return Operation(header=header, envelope=envelope, digest=parse_envelope(envelope).digest)

    async def is_open(self, operation: Operation) -> bool:
        """Whether the operation still runs, and the victim still sees it."""
        answer = await self.victim.operations.WaitOperation(
            operation_service_pb2.WaitOperationRequest(operation_id=operation.header.operation_id),
            metadata=self.victim.metadata,
        )
        return not answer.status.HasField("ending")

    def poll(self, session_id: bytes, queue: str = QUEUE) -> worker_service_pb2.PollTasksRequest:
        """Return the poll of a worker that does not wait."""
        hello = worker_service_pb2.WorkerHello(session_id=session_id, task_queue=queue, identity="worker")
        return worker_service_pb2.PollTasksRequest(worker=hello, max_tasks=10)


@asynccontextmanager
async def neighborhood() -> AsyncGenerator[Neighborhood]:
    """Run the gateway."""
    async with LocalGateway() as gateway:
        await gateway.endpoint(ENDPOINT, namespace=OWNER, task_queue=QUEUE, allow=[VICTIM])
        victim, owner, mallory = [await neighbor(gateway, name) for name in (VICTIM, OWNER, MALLORY)]
        yield Neighborhood(gateway=gateway, victim=victim, owner=owner, mallory=mallory)
        for party in (victim, owner, mallory):
            await party.channel.close()
