"""Completions as teams use them: through a real gateway, with and without an event loop."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import nexusrpc
import pytest
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation

from isthmus.client import Client, Completion, Interceptor, SyncClient
from isthmus.client.errors import AlreadyExistsError, ConfigurationError, NotFoundError
from isthmus.client.feed import AcknowledgeInput, CompletionsPage, LookInput
from isthmus.client.interceptor import ClientOutbound
from isthmus.client.profile import Profile
from isthmus.testing import LocalGateway
from isthmus.v1 import feed_service_pb2, feed_service_pb2_grpc
from isthmus.wire.errors import WireFormatError


@nexusrpc.service
class Echo:
    """Says things back."""

    say: nexusrpc.Operation[str, str]


@service_handler(service=Echo)
class EchoHandler:
    """Says things back, or fails."""

    @sync_operation
    async def say(self, _ctx: StartOperationContext, text: str) -> str:
        """Say it back."""
        if text == "fail":
            raise nexusrpc.OperationError("it could not", state=nexusrpc.OperationErrorState.FAILED)
        return text


@pytest.fixture
async def gateway(local_gateway: LocalGateway) -> AsyncIterator[LocalGateway]:
    """A gateway with two endpoints that echo."""
    async with local_gateway as running:
        for endpoint in ("echo", "canyon"):
            await running.endpoint(endpoint, namespace="app-team", task_queue="echo", allow=["data-team"])
        async with running.worker("app-team", task_queue="echo", nexus_service_handlers=[EchoHandler()]):
            yield running


async def say(client: Client, text: str, endpoint: str = "echo") -> str:
    """Run an operation to its end; return its id."""
    echo = client.create_nexus_client(endpoint=endpoint, service=Echo)
    handle = await echo.start_operation(Echo.say, text)
    try:
        assert await handle.result() == text
    except nexusrpc.OperationError:
        assert text == "fail"
    return handle.operation_id


async def left(client: Client, cursor: str, **wanted: Any) -> list[Completion]:
    """Return what is left for a consumer, without acknowledging it."""
    return [completion async for completion in client.completions(cursor, follow=False, **wanted)]


async def test_completion_leads_to_the_result_when_it_is_followed(gateway: LocalGateway) -> None:
    """Another process starts; this one waits for whatever ends, and fetches what it needs."""
    client = await gateway.client("data-team")
    assert await left(client, "nightly") == []
    completions = client.completions("nightly")
    followed = aiter(completions)
    starting = asyncio.create_task(say(client, "hello"))
    completion = await anext(followed)
    assert completion.operation_id == completion.event_id == await starting
    assert (completion.status, completion.state) == ("succeeded", "succeeded")
    assert (completion.endpoint, completion.service, completion.operation) == ("echo", "Echo", "say")
    assert completion.handler_namespace == "app-team"
    assert completion.occurred_at.tzinfo is not None
    handle = client.get_operation_handle(completion.operation_id, result_type=str)
    assert await handle.result() == "hello"
    await completions.acknowledge(completion)
    assert await left(client, "nightly") == []


async def test_completion_comes_again_when_its_consumer_died_before_it_acknowledged(
    gateway: LocalGateway,
) -> None:
    """Whatever process takes up the cursor; what was acknowledged stays away."""
    client = await gateway.client("data-team")
    assert await left(client, "nightly") == []
    ids = [await say(client, str(number)) for number in range(3)]
    completions = client.completions("nightly", follow=False)
    async for completion in completions:
        if completion.operation_id == ids[1]:
            break
        await completions.acknowledge(completion)
    about = await gateway.namespace("data-team")
    another = await Client.connect(
        about.address,
        profile=Profile(),
        keyring=about.keyring,
        trust=about.trust,
        credentials=about.credentials,
    )
    async with another:
        assert [completion.operation_id for completion in await left(another, "nightly")] == ids[1:]


async def test_completions_are_those_that_are_wanted_when_they_are_filtered(gateway: LocalGateway) -> None:
    """By endpoint, by status, by both; from the beginning, if the consumer wants that."""
    client = await gateway.client("data-team")
    echoed, failed = await say(client, "a"), await say(client, "fail")
    canyon, canyon_failed = await say(client, "a", "canyon"), await say(client, "fail", "canyon")

    async def ids(cursor: str, **wanted: Any) -> list[str]:
        found = await left(client, cursor, begin="beginning", **wanted)
        return [completion.operation_id for completion in found]

    assert await ids("all") == [echoed, failed, canyon, canyon_failed]
    assert await ids("echo", endpoint="echo") == [echoed, failed]
    assert await ids("failed", statuses=["failed"]) == [failed, canyon_failed]
    assert await ids("both", endpoint="canyon", statuses=["failed", "canceled"]) == [canyon_failed]
    assert await ids("none", statuses=["canceled"]) == []
    with pytest.raises(AlreadyExistsError):
        await ids("all", endpoint="echo")


async def test_other_namespace_hears_nothing_when_an_operation_ends(gateway: LocalGateway) -> None:
    """Neither who handles it nor who has nothing to do with it."""
    client = await gateway.client("data-team")
    await say(client, "hello")
    for other in ("app-team", "ai-team"):
        assert await left(await gateway.client(other), "spy", begin="beginning") == []


async def test_sync_client_gets_the_same_when_it_iterates(gateway: LocalGateway) -> None:
    """Without an event loop, in a thread of its own; each acknowledgement counts for both clients."""
    client = await gateway.client("data-team")
    assert await left(client, "nightly") == []
    ids = [await say(client, str(number)) for number in range(3)]
    about = await gateway.namespace("data-team")

    def consume() -> list[str]:
        with SyncClient.connect(
            about.address,
            profile=Profile(),
            keyring=about.keyring,
            trust=about.trust,
            credentials=about.credentials,
        ) as sync:
            completions = sync.completions("nightly", follow=False)
            seen = []
            for completion in completions:
                seen.append(completion.operation_id)
                if len(seen) < 3:
                    completions.acknowledge(completion)
            for completion in sync.completions("nightly"):
                seen.append(completion.operation_id)
                break
            return seen

    assert await asyncio.to_thread(consume) == [*ids, ids[2]]
    assert [completion.operation_id for completion in await left(client, "nightly")] == [ids[2]]


async def test_consumer_hears_it_when_its_cursor_is_deleted(gateway: LocalGateway) -> None:
    """It does not wait for ever for something that nobody remembers."""
    client = await gateway.client("data-team")
    await say(client, "hello")
    completions = client.completions("nightly", begin="beginning")
    followed = aiter(completions)
    await anext(followed)
    stub: Any = feed_service_pb2_grpc.FeedServiceStub(client.connection.channel)
    await client.connection.call(
        stub.DeleteCursor, feed_service_pb2.DeleteCursorRequest(name="nightly"), timeout_seconds=10
    )
    with pytest.raises(NotFoundError):
        await anext(followed)


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"cursor": ""}, WireFormatError),
        ({"cursor": "a b"}, WireFormatError),
        ({"cursor": "a", "endpoint": "-"}, WireFormatError),
        ({"cursor": "a", "statuses": ["lost"]}, ConfigurationError),
        ({"cursor": "a", "begin": "yesterday"}, ConfigurationError),
        ({"cursor": "a", "begin": -1}, ConfigurationError),
    ],
)
@pytest.mark.parametrize("store_kind", ["sqlite"])
async def test_mistake_is_reported_when_completions_are_asked_for(
    gateway: LocalGateway, wanted: dict[str, Any], error: type[Exception]
) -> None:
    """At once, by the client itself."""
    client = await gateway.client("data-team")
    with pytest.raises(error):
        client.completions(**wanted)


async def test_layers_see_looks_and_acknowledgements_when_they_are_put_around_a_client(
    gateway: LocalGateway,
) -> None:
    """As of everything else that a client does."""
    seen: list[str] = []

    class Layer(ClientOutbound):
        async def read_completions(self, input: LookInput) -> CompletionsPage:  # noqa: A002
            seen.append(f"look at {input.cursor}")
            return await super().read_completions(input)

        async def acknowledge_completions(self, input: AcknowledgeInput) -> None:  # noqa: A002
            seen.append(f"acknowledge {input.cursor}")
            await super().acknowledge_completions(input)

    class Layers(Interceptor):
        def intercept_client(self, next: ClientOutbound) -> ClientOutbound:  # noqa: A002
            return Layer(next)

    plain = await gateway.client("data-team")
    await say(plain, "hello")
    about = await gateway.namespace("data-team")
    client = await Client.connect(
        about.address,
        profile=Profile(),
        keyring=about.keyring,
        trust=about.trust,
        credentials=about.credentials,
        interceptors=[Layers()],
    )
    async with client:
        completions = client.completions("nightly", begin="beginning", follow=False)
        async for completion in completions:
            await completions.acknowledge(completion)
    assert seen == ["look at nightly", "acknowledge nightly"]
