"""Events that teams publish: who gets them, who may publish, what a reader verifies, how long they stay."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.integration.operation_calls import refusal
from tests.integration.operation_gateway import RunningGateway
from tests.integration.sealed_messages import CALLER, ENDPOINT, HANDLER, request_header, sealed
from tests.integration.test_feed_service import FeedClient

from isthmus.client import Client, Event, SyncClient
from isthmus.client.errors import (
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    UnverifiedAnswerError,
)
from isthmus.client.interceptor import ClientOutbound, EventInput
from isthmus.client.profile import Profile
from isthmus.gateway.ports import AuditFilter, StoredAuditEvent
from isthmus.keys.errors import TrustError
from isthmus.payload.errors import PayloadConversionError
from isthmus.testing import LocalGateway
from isthmus.v1 import audit_pb2
from isthmus.v1 import feed_service_pb2 as pb
from isthmus.wire.header import Direction
from isthmus.wire.names import EVENT_SERVICE

CODE = grpc.StatusCode


@pytest.fixture
async def gateway(local_gateway: LocalGateway) -> AsyncIterator[LocalGateway]:
    """A gateway with an endpoint that two teams may call."""
    async with local_gateway as running:
        await running.endpoint("batches", namespace="app-team", allow=["data-team/Batches/load", "ai-team"])
        for name in ("data-team", "ai-team", "other-team"):
            await running.namespace(name)
        yield running


async def left(client: Client, cursor: str = "c", **wanted: Any) -> list[Event]:
    """Return what is left for a consumer, from the beginning, without acknowledging it."""
    events = client.events(cursor, begin="beginning", follow=False, **wanted)
    return [event async for event in events]


async def test_event_reaches_everybody_on_the_allow_list_when_it_is_published(gateway: LocalGateway) -> None:
    """Verified and typed, one identity for all; not those who may call nothing, nor the publisher itself."""
    publisher = await gateway.client("app-team")
    published = await publisher.publish_event("batches", "batch-ready", {"rows": 42})
    assert (published.readers, published.not_trusted) == (("ai-team", "data-team"), ())
    for reader in ("ai-team", "data-team"):
        (event,) = await left(await gateway.client(reader), endpoint="batches")
        assert event.value == {"rows": 42}
        assert (event.event_id, event.endpoint, event.name) == (published.event_id, "batches", "batch-ready")
        assert (event.publisher_namespace, event.error) == ("app-team", None)
    for stranger in ("other-team", "app-team"):
        assert await left(await gateway.client(stranger)) == []


async def test_event_wakes_a_reader_when_it_is_published(gateway: LocalGateway) -> None:
    """Without anybody having asked; acknowledged, it does not come again."""
    reader = await gateway.client("data-team")
    assert [event async for event in reader.events("c", follow=False)] == []
    events = reader.events("c")
    waiting = asyncio.ensure_future(anext(aiter(events)))
    publisher = await gateway.client("app-team")
    await publisher.publish_event("batches", "batch-ready", "now")
    event = await waiting
    assert event.value == "now"
    await events.acknowledge(event)
    assert await left(reader) == []


async def test_event_arrives_once_when_it_is_published_again_under_its_id(gateway: LocalGateway) -> None:
    """A publisher that does not know whether it was heard says it again."""
    publisher, reader = await gateway.client("app-team"), await gateway.client("data-team")
    first = await publisher.publish_event("batches", "ready", 1, id="2026-11-26")
    again = await publisher.publish_event("batches", "ready", 1, id="2026-11-26")
    other = await publisher.publish_event("batches", "ready", 2, id="2026-11-27")
    assert first.event_id == again.event_id != other.event_id
    assert [event.value for event in await left(reader)] == [1, 2]


async def test_only_named_readers_get_an_event_when_they_are_named(gateway: LocalGateway) -> None:
    """And those who are not on the allow list cannot be named."""
    publisher = await gateway.client("app-team")
    await publisher.publish_event("batches", "ready", 1, readers=["ai-team"])
    assert len(await left(await gateway.client("ai-team"))) == 1
    assert await left(await gateway.client("data-team")) == []
    with pytest.raises(PermissionDeniedError):
        await publisher.publish_event("batches", "ready", 1, readers=["other-team"])
    with pytest.raises((TrustError, NotFoundError)):
        await publisher.publish_event("batches", "ready", 1, readers=["never-heard-of"])


async def test_event_is_refused_when_somebody_else_publishes_it(gateway: LocalGateway) -> None:
    """Callers do not speak in the name of those they call."""
    caller = await gateway.client("data-team")
    with pytest.raises(PermissionDeniedError):
        await caller.publish_event("batches", "ready", 1, readers=["ai-team"])
    assert await left(await gateway.client("ai-team")) == []


async def test_completions_and_events_do_not_mix_when_both_are_read(gateway: LocalGateway) -> None:
    """A consumer of completions is not handed what it did not ask for."""
    publisher, reader = await gateway.client("app-team"), await gateway.client("data-team")
    await publisher.publish_event("batches", "ready", 1)
    completions = reader.completions("completions", begin="beginning", follow=False)
    assert [completion async for completion in completions] == []
    assert len(await left(reader, "events")) == 1


async def test_value_is_refused_when_it_is_too_large_or_has_another_type(gateway: LocalGateway) -> None:
    """Too large for an event: nothing is sent. Another type: the reader hears it with the event."""
    publisher, reader = await gateway.client("app-team"), await gateway.client("data-team")
    with pytest.raises(PayloadTooLargeError):
        await publisher.publish_event("batches", "ready", "x" * 60_000)
    await publisher.publish_event("batches", "ready", "text")
    (event,) = await left(reader, result_type=int)
    assert isinstance(event.error, PayloadConversionError)
    with pytest.raises(PayloadConversionError):
        _ = event.value


async def test_sync_client_does_the_same_when_it_publishes_and_reads(gateway: LocalGateway) -> None:
    """Without an event loop."""
    parties = [await gateway.namespace(name) for name in ("app-team", "data-team")]

    def work() -> list[Any]:
        publisher, reader = (
            SyncClient.connect(
                about.address,
                profile=Profile(),
                keyring=about.keyring,
                trust=about.trust,
                credentials=about.credentials,
            )
            for about in parties
        )
        with publisher, reader:
            publisher.publish_event("batches", "ready", 1)
            publisher.publish_event("batches", "ready", 2)
            events = reader.events("c", begin="beginning", follow=False)
            seen = []
            for event in events:
                seen.append(event.value)
                if event.value == 1:
                    events.acknowledge(event)
            return seen + [event.value for event in reader.events("c", follow=False)]

    assert await asyncio.to_thread(work) == [1, 2, 2]


async def test_event_does_not_verify_when_the_feed_lies_about_it(gateway: LocalGateway) -> None:
    """Another name, another endpoint, another event in its place: withheld, and the next one still comes."""
    publisher, reader = await gateway.client("app-team"), await gateway.client("data-team")
    await gateway.endpoint("refunds", namespace="app-team", allow=["data-team"])
    await publisher.publish_event("batches", "ready", 1)
    await publisher.publish_event("batches", "late", 2)
    notices = []

    class Spy(ClientOutbound):
        async def get_event(self, input: EventInput) -> Event:  # noqa: A002
            notices.append(input.notice)
            return await self.next.get_event(input)

    reader._outbound = Spy(reader._outbound)
    assert [event.value for event in await left(reader)] == [1, 2]

    first, second = notices
    for lie in (
        replace(first, name="late"),
        replace(first, endpoint="refunds"),
        replace(second, name=first.name),
    ):
        event = await reader._outbound.get_event(EventInput(notice=lie, type_hint=Any))
        assert isinstance(event.error, UnverifiedAnswerError)
        with pytest.raises(UnverifiedAnswerError):
            _ = event.value
    unknown = replace(first, endpoint="nobodys")
    event = await reader._outbound.get_event(EventInput(notice=unknown, type_hint=Any))
    assert isinstance(event.error, TrustError)
    gone = replace(first, event_id=bytes(16))
    event = await reader._outbound.get_event(EventInput(notice=gone, type_hint=Any))
    assert isinstance(event.error, NotFoundError)


def event_envelope(reader: str = CALLER, **changes: Any) -> bytes:
    """Return an event of the handler for a reader."""
    values: dict[str, Any] = {
        "direction": Direction.EVENT,
        "sender_namespace": HANDLER,
        "principal": f"{HANDLER}/process",
        "recipient_namespace": reader,
        "endpoint": ENDPOINT,
        "service": EVENT_SERVICE,
        "operation": "batch-ready",
        "operation_id": b"e" * 16,
        "expires_at_ms": 0,
        "schedule_to_start_timeout_ms": 0,
        "start_to_close_timeout_ms": 0,
        "schedule_to_close_timeout_ms": 0,
        "fingerprint": b"",
        "recipients": (reader,),
    }
    return sealed(request_header(**(values | changes)))


class Publisher(FeedClient):
    """The handler's namespace, which owns the endpoint."""

    async def publish(self, envelope: bytes) -> pb.PublishEventResponse:
        """Publish."""
        return await self.stub.PublishEvent(pb.PublishEventRequest(envelope=envelope), metadata=self.metadata)

    async def get(self, event_id: bytes = b"e" * 16, publisher: str = HANDLER) -> bytes:
        """Fetch an event."""
        answer = await self.stub.GetEvent(
            pb.GetEventRequest(publisher_namespace=publisher, event_id=event_id), metadata=self.metadata
        )
        return answer.envelope


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Return code and reason of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def test_event_is_its_readers_alone_when_it_is_fetched(operation_gateway: RunningGateway) -> None:
    """As it was published; for everybody else, its publisher included, there is none."""
    publisher = Publisher(operation_gateway.client(HANDLER))
    reader = Publisher(operation_gateway.client(CALLER))
    await reader.create(kinds=[pb.FEED_KIND_EVENT])
    envelope = event_envelope()
    assert not (await publisher.publish(envelope)).repeated_event
    assert (await publisher.publish(envelope)).repeated_event
    (entry,) = (await reader.read()).entries
    assert (entry.kind, entry.event_id, entry.operation) == (pb.FEED_KIND_EVENT, b"e" * 16, "batch-ready")
    assert (entry.endpoint, entry.handler_namespace, entry.operation_id) == (ENDPOINT, HANDLER, b"")
    assert await reader.get() == envelope
    assert await refused(publisher.get()) == (CODE.NOT_FOUND, "EVENT_NOT_FOUND")
    assert await refused(reader.get(publisher=CALLER)) == (CODE.NOT_FOUND, "EVENT_NOT_FOUND")


async def published_for(gateway: RunningGateway, namespace: str) -> Sequence[StoredAuditEvent]:
    """Return what the log says to a namespace of events that were published."""
    wanted = AuditFilter(namespace=namespace, types=frozenset({"event_published"}))
    return await gateway.store.read(lambda reader: reader.audit_events(wanted))


async def test_event_is_on_record_once_when_it_is_published_twice(operation_gateway: RunningGateway) -> None:
    """Who published it for whom, and by which rule; both sides see it."""
    publisher = Publisher(operation_gateway.client(HANDLER))
    for _ in range(2):
        await publisher.publish(event_envelope())
    for namespace in (CALLER, HANDLER):
        (stored,) = await published_for(operation_gateway, namespace)
        event = audit_pb2.AuditEvent.FromString(stored.event)
        published = event.event_published
        assert event.actor_namespace == HANDLER
        assert (published.publisher_namespace, published.reader_namespace) == (HANDLER, CALLER)
        assert published.rule.startswith("allow:")


async def test_event_is_forgotten_when_the_retention_of_its_endpoint_is_over(
    operation_gateway: RunningGateway,
) -> None:
    """The entry stays in the feed, the event is gone."""
    await operation_gateway.put_endpoint(retention=timedelta(hours=2))
    publisher = Publisher(operation_gateway.client(HANDLER))
    reader = Publisher(operation_gateway.client(CALLER))
    await reader.create(after_position=0)
    await publisher.publish(event_envelope())
    operation_gateway.advance(hours=1, minutes=59)
    await operation_gateway.retire()
    assert await reader.get()
    operation_gateway.advance(minutes=1)
    assert await refused(reader.get()) == (CODE.NOT_FOUND, "EVENT_NOT_FOUND")
    await operation_gateway.retire()
    kept = await operation_gateway.store.read(lambda at: at.published_event(CALLER, HANDLER, b"e" * 16))
    assert kept is None
    assert len((await reader.read()).entries) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"service": "Payments"}, (CODE.INVALID_ARGUMENT, "HEADER_MISMATCH")),
        (
            {"recipients": tuple(sorted((CALLER, HANDLER)))},
            (CODE.INVALID_ARGUMENT, "HEADER_MISMATCH"),
        ),
        ({"principal": "somebody/else"}, (CODE.INVALID_ARGUMENT, "HEADER_MISMATCH")),
        ({"endpoint": "nowhere"}, (CODE.NOT_FOUND, "ENDPOINT_NOT_FOUND")),
        ({"reader": "stranger"}, (CODE.PERMISSION_DENIED, "ACCESS_DENIED")),
    ],
    ids=str,
)
@pytest.mark.parametrize("store_kind", ["sqlite"])
async def test_event_is_refused_when_its_header_does_not_fit(
    operation_gateway: RunningGateway, changes: dict[str, Any], expected: tuple[grpc.StatusCode, str]
) -> None:
    """Nothing is kept, and nobody hears of it."""
    publisher = Publisher(operation_gateway.client(HANDLER))
    assert await refused(publisher.publish(event_envelope(**changes))) == expected
    assert await refused(Publisher(operation_gateway.client(CALLER)).get()) == (
        CODE.NOT_FOUND,
        "EVENT_NOT_FOUND",
    )


async def test_event_is_refused_when_a_caller_publishes_it(operation_gateway: RunningGateway) -> None:
    """Only the owner of an endpoint speaks for it."""
    caller = Publisher(operation_gateway.client(CALLER))
    forged = event_envelope(sender_namespace=CALLER, principal=f"{CALLER}/process")
    assert await refused(caller.publish(forged)) == (CODE.PERMISSION_DENIED, "ACCESS_DENIED")
    stolen = event_envelope()
    assert await refused(caller.publish(stolen)) == (CODE.INVALID_ARGUMENT, "HEADER_MISMATCH")
