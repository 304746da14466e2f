"""What a caller's SDK makes of an operation that was ended by force: no outcome, and no proof of one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import nexusrpc
import pytest
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation

from isthmus.client.errors import UnprovenOutcomeError
from isthmus.client.handle import OperationHandle
from isthmus.testing import LocalGateway
from isthmus.transport.credentials import call_metadata
from isthmus.v1 import operation_service_pb2, operation_service_pb2_grpc
from isthmus.wire.names import parse_operation_id


@nexusrpc.service
class Batches:
    """Takes long."""

    place: nexusrpc.Operation[str, str]


@service_handler(service=Batches)
@dataclass
class BatchesHandler:
    """Runs until it is interrupted."""

    runs: int = 0
    started: asyncio.Event = field(default_factory=asyncio.Event)
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)

    @sync_operation
    async def place(self, _ctx: StartOperationContext, _batch: str) -> str:
        """Wait for ever."""
        self.runs += 1
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.interrupted.set()
            raise
        return "never"


@pytest.fixture
async def gateway(local_gateway: LocalGateway) -> AsyncIterator[LocalGateway]:
    """A gateway with an endpoint."""
    async with local_gateway as running:
        await running.endpoint("batches", namespace="app-team", allow=["data-team"])
        yield running


async def terminate(gateway: LocalGateway, operation_id: str, by: str = "app-team") -> None:
    """End an operation by force."""
    about = await gateway.namespace(by)
    request = operation_service_pb2.TerminateOperationRequest(
        operation_id=parse_operation_id(operation_id), reason="a wrong batch"
    )
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        # The stub of an asynchronous channel has a type of its own, which only stub files know.
        stub: Any = operation_service_pb2_grpc.OperationServiceStub(channel)
        await stub.TerminateOperation(request, metadata=call_metadata(about.credentials))


async def test_ending_is_unproven_and_nothing_restarts_when_the_owner_terminates(
    gateway: LocalGateway,
) -> None:
    """The waiter wakes, the handler is interrupted, the message says what happened and where to look."""
    handler = BatchesHandler()
    async with gateway.worker("app-team", task_queue="batches", nexus_service_handlers=[handler]):
        client = await gateway.client("data-team")
        batches = client.create_nexus_client(endpoint="batches", service=Batches)
        handle = await batches.start_operation(Batches.place, "b", id="batch-1")
        waiting = asyncio.create_task(handle.result())
        await handler.started.wait()
        await terminate(gateway, handle.operation_id)
        with pytest.raises(UnprovenOutcomeError, match="terminated by force") as caught:
            await waiting
        assert (caught.value.kind, caught.value.attested) == ("terminated", False)
        assert f"isthmus audit query --operation {handle.operation_id}" in str(caught.value)
        await handler.interrupted.wait()
        with pytest.raises(UnprovenOutcomeError):
            await batches.execute_operation(
                Batches.place, "b", id="batch-1", reuse_policy="restart_if_failed"
            )
        assert handler.runs == 1


async def test_ending_is_unproven_when_a_canceled_operation_is_terminated(gateway: LocalGateway) -> None:
    """A cancel that the caller signed proves a cancel, not that somebody ended it by force."""
    client = await gateway.client("data-team")
    batches = client.create_nexus_client(endpoint="batches", service=Batches)
    handler = BatchesHandler()
    async with gateway.worker("app-team", task_queue="batches", nexus_service_handlers=[handler]):
        handle: OperationHandle[str] = await batches.start_operation(Batches.place, "b")
        await handler.started.wait()
        await terminate(gateway, handle.operation_id)
        await handle.cancel()
        with pytest.raises(UnprovenOutcomeError):
            await handle.result()
