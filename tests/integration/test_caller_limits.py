"""Limits of an endpoint as callers meet them: the client waits as long as it is told, inside its deadline."""

import asyncio
from collections.abc import Sequence
from typing import Any

import nexusrpc
import pytest
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation

from isthmus.gateway.commands.start_operation import StartOperation, StartResult
from isthmus.gateway.core.errors import ExhaustedError
from isthmus.gateway.dispatch.dispatcher import Dispatcher
from isthmus.testing import LocalGateway
from isthmus.v1 import endpoint_service_pb2 as pb
from isthmus.v1 import endpoint_service_pb2_grpc


@nexusrpc.service
class Echo:
    """Says things back."""

    say: nexusrpc.Operation[str, str]


@service_handler(service=Echo)
class EchoHandler:
    """Says things back once an event has happened."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    @sync_operation
    async def say(self, _ctx: StartOperationContext, text: str) -> str:
        """Say it back."""
        await self._event.wait()
        return text


async def limit(gateway: LocalGateway, **limits: int) -> pb.Endpoint:
    """Set limits of the endpoint, as its owner; return it as it is shown."""
    connection = gateway._connect("app-team")
    stub: Any = endpoint_service_pb2_grpc.EndpointServiceStub(connection.channel)
    request = pb.UpdateEndpointRequest(endpoint=pb.Endpoint(name="echo", **limits))  # type: ignore[arg-type]
    request.update_mask.paths.extend(limits)
    try:
        response: pb.UpdateEndpointResponse = await connection.call(
            stub.UpdateEndpoint, request, timeout_seconds=10
        )
    finally:
        await connection.close()
    return response.endpoint


class Refusals:
    """The reasons for which the gateway refused starts, and an event for the first one."""

    def __init__(self) -> None:
        self.reasons: set[str] = set()
        self.first = asyncio.Event()

    def note(self, job: "asyncio.Future[list[StartResult | BaseException]]") -> None:
        """Note what was refused of a frame."""
        reasons = {result.reason for result in job.result() if isinstance(result, ExhaustedError)}
        self.reasons |= reasons
        if reasons:
            self.first.set()


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> Refusals:
    """What the gateway refuses meanwhile: the client tells nobody."""
    noted = Refusals()
    start_all = Dispatcher.start_all

    def start_and_note(
        self: Dispatcher, requests: Sequence[StartOperation]
    ) -> "asyncio.Future[list[StartResult | BaseException]]":
        job = start_all(self, requests)
        job.add_done_callback(noted.note)
        return job

    monkeypatch.setattr(Dispatcher, "start_all", start_and_note)
    return noted


async def test_every_operation_succeeds_when_a_client_starts_too_many(
    local_gateway: LocalGateway, refusals: Refusals
) -> None:
    """The client repeats a refused start as soon as it may."""
    refusals.first.set()
    async with local_gateway as gateway:
        await gateway.endpoint("echo", namespace="app-team", allow=["data-team"])
        shown = await limit(gateway, max_operations_per_second=2)
        assert shown.max_operations_per_second == 2
        handler = EchoHandler(refusals.first)
        async with gateway.worker("app-team", task_queue="echo", nexus_service_handlers=[handler]):
            client = await gateway.client("data-team")
            echo = client.create_nexus_client(endpoint="echo", service=Echo)
            texts = [f"text {number}" for number in range(5)]
            answers = await asyncio.gather(*(echo.execute_operation(Echo.say, text) for text in texts))
    assert answers == texts
    assert refusals.reasons == {"RATE_LIMITED"}


async def test_every_operation_succeeds_when_a_client_has_too_many_open(
    local_gateway: LocalGateway, refusals: Refusals
) -> None:
    """The second one begins when the first has ended, which it does only after the second was refused."""
    async with local_gateway as gateway:
        await gateway.endpoint("echo", namespace="app-team", allow=["data-team"])
        shown = await limit(gateway, max_open_operations=1)
        assert shown.max_open_operations == 1
        handler = EchoHandler(refusals.first)
        async with gateway.worker("app-team", task_queue="echo", nexus_service_handlers=[handler]):
            client = await gateway.client("data-team")
            echo = client.create_nexus_client(endpoint="echo", service=Echo)
            answers = await asyncio.gather(*(echo.execute_operation(Echo.say, text) for text in "ab"))
    assert answers == ["a", "b"]
    assert refusals.reasons == {"TOO_MANY_OPEN_OPERATIONS"}
