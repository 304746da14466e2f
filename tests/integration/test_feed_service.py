"""The feed over the wire: what ended, to whom it is told, how long one waits for it."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.integration.operation_calls import cancel, make_round_trip, refusal, start
from tests.integration.operation_gateway import Client, RunningGateway, Worker
from tests.integration.sealed_messages import CALLER, ENDPOINT, HANDLER, cancel_of, outcome, request

from isthmus.gateway.api import feed_reading
from isthmus.gateway.api.feed_watch import MAX_READERS_OF_NAMESPACE
from isthmus.gateway.commands.cursors import MOST_CURSORS
from isthmus.gateway.ports import AuditFilter
from isthmus.v1 import audit_pb2, feed_service_pb2_grpc, operation_pb2
from isthmus.v1 import feed_service_pb2 as pb

CODE = grpc.StatusCode
LONG_WAIT_MS = 60_000
OTHER_ENDPOINT = "refunds"


class FeedClient:
    """The feed as one namespace sees it."""

    def __init__(self, client: Client) -> None:
        stub: Any = feed_service_pb2_grpc.FeedServiceStub(client.channel)
        self.stub: feed_service_pb2_grpc.FeedServiceAsyncStub = stub
        self.metadata = client.metadata

    async def create(self, name: str = "nightly", **wanted: Any) -> pb.Cursor:
        """Make a cursor."""
        answer = await self.stub.CreateCursor(
            pb.CreateCursorRequest(name=name, **wanted), metadata=self.metadata
        )
        return answer.cursor

    async def read(self, name: str = "nightly", **wanted: Any) -> pb.ReadFeedResponse:
        """Look, or wait."""
        return await self.stub.ReadFeed(pb.ReadFeedRequest(cursor=name, **wanted), metadata=self.metadata)

    async def acknowledge(self, position: int, name: str = "nightly") -> pb.Cursor:
        """Move a cursor."""
        answer = await self.stub.AcknowledgeFeed(
            pb.AcknowledgeFeedRequest(cursor=name, position=position), metadata=self.metadata
        )
        return answer.cursor

    async def delete(self, name: str = "nightly") -> None:
        """Forget a cursor."""
        await self.stub.DeleteCursor(pb.DeleteCursorRequest(name=name), metadata=self.metadata)

    async def cursors(self) -> pb.ListCursorsResponse:
        """List cursors."""
        return await self.stub.ListCursors(pb.ListCursorsRequest(), metadata=self.metadata)


@pytest.fixture
def feed(operation_gateway: RunningGateway) -> FeedClient:
    """The feed of the caller."""
    return FeedClient(operation_gateway.client(CALLER))


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Return code and reason of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def succeed(gateway: RunningGateway, endpoint: str = ENDPOINT) -> bytes:
    """Run an operation to its end; return its id."""
    status = await start(gateway.client(CALLER), request(endpoint=endpoint))
    worker = await Worker(gateway.client(HANDLER)).hello(grant=1)
    assert (await worker.answer(outcome(await worker.tasks.get()))).error == b""
    await worker.disconnect()
    return status.operation_id


async def be_canceled(gateway: RunningGateway) -> bytes:
    """Start an operation and cancel it before anybody takes it; return its id."""
    envelope, caller = request(), gateway.client(CALLER)
    status = await start(caller, envelope)
    await cancel(caller, cancel_of(envelope))
    return status.operation_id


async def until_somebody_waits(gateway: RunningGateway) -> None:
    """Return when a reader of a feed waits."""
    while not gateway.assembly.feeds._changes:
        await make_round_trip(gateway.client(CALLER))


async def test_entry_says_what_ended_when_it_is_read(
    operation_gateway: RunningGateway, feed: FeedClient
) -> None:
    """Who, where, how and when; no payload."""
    await feed.create()
    succeeded, canceled = await succeed(operation_gateway), await be_canceled(operation_gateway)
    page = await feed.read()
    first, second = page.entries
    assert (first.event_id, first.operation_id) == (succeeded, succeeded)
    assert (first.endpoint, first.handler_namespace) == (ENDPOINT, HANDLER)
    assert (first.service, first.operation) != ("", "")
    assert (first.kind, first.state) == (pb.FEED_KIND_SUCCEEDED, operation_pb2.OPERATION_STATE_SUCCEEDED)
    assert first.statement == operation_pb2.STATEMENT_KIND_UNSPECIFIED
    assert second.operation_id == canceled
    assert (second.kind, second.statement) == (
        pb.FEED_KIND_CANCELED,
        operation_pb2.STATEMENT_KIND_CANCELED,
    )
    at = operation_gateway.clock.at
    assert first.occurred_at.ToMilliseconds() == int(at.timestamp() * 1000)
    assert first.position < second.position <= page.next_position
    assert not page.more


async def test_timed_out_operation_failed_when_its_entry_is_read(
    operation_gateway: RunningGateway, feed: FeedClient
) -> None:
    """The gateway's own endings are told like all others, and said to be its own."""
    await feed.create(kinds=[pb.FEED_KIND_FAILED])
    short = request(schedule_to_close_timeout_ms=60_000)
    status = await start(operation_gateway.client(CALLER), short)
    operation_gateway.advance(minutes=1)
    await operation_gateway.timeouts.step()
    (entry,) = (await feed.read()).entries
    assert entry.operation_id == status.operation_id
    assert entry.state == operation_pb2.OPERATION_STATE_TIMED_OUT
    assert entry.statement == operation_pb2.STATEMENT_KIND_TIMED_OUT_SCHEDULE_TO_CLOSE


async def test_entry_comes_again_when_it_was_not_acknowledged(
    operation_gateway: RunningGateway, feed: FeedClient
) -> None:
    """At least once, until the consumer said that it is done; then never again."""
    await feed.create()
    await succeed(operation_gateway)
    await succeed(operation_gateway)
    first, second = (await feed.read()).entries
    assert list((await feed.read()).entries) == [first, second]
    moved = await feed.acknowledge(first.position)
    assert moved.position == first.position
    assert moved.HasField("acknowledged_at")
    assert list((await feed.read()).entries) == [second]
    assert list((await feed.read(after_position=1)).entries) == [second]
    await feed.acknowledge(second.position)
    assert list((await feed.read()).entries) == []


async def test_reader_goes_on_when_it_has_not_acknowledged_yet(
    operation_gateway: RunningGateway, feed: FeedClient
) -> None:
    """What was delivered is passed over; a cursor that was moved back stays where it is."""
    await feed.create()
    ids = [await succeed(operation_gateway) for _ in range(3)]
    page = await feed.read(max_entries=2)
    assert page.more
    assert page.next_position >= page.entries[-1].position
    rest = await feed.read(after_position=page.next_position, max_entries=2)
    assert [entry.operation_id for entry in (*page.entries, *rest.entries)] == ids
    assert not rest.more
    await feed.acknowledge(rest.next_position)
    assert (await feed.acknowledge(page.next_position)).position == rest.next_position


async def test_reader_is_woken_when_an_operation_ends(
    operation_gateway: RunningGateway, feed: FeedClient
) -> None:
    """It waits for nothing else: its time does not run."""
    await feed.create()
    reading = asyncio.ensure_future(feed.read(wait_ms=LONG_WAIT_MS))
    await until_somebody_waits(operation_gateway)
    operation_id = await succeed(operation_gateway)
    assert [entry.operation_id for entry in (await reading).entries] == [operation_id]
    assert not operation_gateway.assembly.feeds._changes


async def test_reader_waits_on_when_what_ended_is_not_for_it(
    operation_gateway: RunningGateway, feed: FeedClient
) -> None:
    """Another endpoint, another kind: looked at, passed, and not delivered."""
    await operation_gateway.put_endpoint(OTHER_ENDPOINT)
    await feed.create(endpoint=ENDPOINT, kinds=[pb.FEED_KIND_SUCCEEDED])
    reading = asyncio.ensure_future(feed.read(wait_ms=LONG_WAIT_MS))
    await until_somebody_waits(operation_gateway)
    await be_canceled(operation_gateway)
    await succeed(operation_gateway, OTHER_ENDPOINT)
    wanted = await succeed(operation_gateway)
    (entry,) = (await reading).entries
    assert entry.operation_id == wanted


async def test_position_moves_on_when_nothing_is_for_the_reader(
    operation_gateway: RunningGateway, feed: FeedClient
) -> None:
    """So that nobody looks at the same records again and again."""
    await feed.create(kinds=[pb.FEED_KIND_FAILED])
    await succeed(operation_gateway)
    page = await feed.read()
    assert not page.entries
    assert page.next_position > (await feed.cursors()).cursors[0].position
    assert (await feed.read(after_position=page.next_position)).next_position == page.next_position


async def test_call_ends_when_it_has_looked_at_much(
    operation_gateway: RunningGateway, feed: FeedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call does a bounded amount of work, and says that there may be more."""
    monkeypatch.setattr(feed_reading, "RECORDS_A_LOOK", 2)
    monkeypatch.setattr(feed_reading, "LOOKS_A_CALL", 2)
    await feed.create(kinds=[pb.FEED_KIND_SUCCEEDED])
    for _ in range(6):
        await be_canceled(operation_gateway)
    wanted = await succeed(operation_gateway)
    after, calls, found = 0, 0, list[pb.FeedEntry]()
    while True:
        page = await feed.read(after_position=after, wait_ms=LONG_WAIT_MS if not found else 0)
        after, calls = page.next_position, calls + 1
        found += page.entries
        if not page.more:
            break
    assert [entry.operation_id for entry in found] == [wanted]
    assert calls > 3


async def test_nobody_else_sees_entries_when_it_reads(
    operation_gateway: RunningGateway, feed: FeedClient
) -> None:
    """Not even the handler's namespace, whose feed tells what it called itself; cursors are its own, too."""
    handler = FeedClient(operation_gateway.client(HANDLER))
    await feed.create(after_position=0)
    assert await refused(handler.read()) == (CODE.NOT_FOUND, "CURSOR_NOT_FOUND")
    assert await refused(handler.acknowledge(1)) == (CODE.NOT_FOUND, "CURSOR_NOT_FOUND")
    assert await refused(handler.delete()) == (CODE.NOT_FOUND, "CURSOR_NOT_FOUND")
    await handler.create(after_position=0)
    await succeed(operation_gateway)
    assert len((await feed.read()).entries) == 1
    assert len((await handler.read()).entries) == 0
    assert len((await handler.cursors()).cursors) == 1


async def test_cursor_begins_where_it_is_told_when_it_is_made(
    operation_gateway: RunningGateway, feed: FeedClient
) -> None:
    """With what happens from now on, with the beginning, or behind a position."""
    first, second = await succeed(operation_gateway), await succeed(operation_gateway)
    await feed.create("now")
    await feed.create("beginning", after_position=0)
    ids = {entry.position: entry.operation_id for entry in (await feed.read("beginning")).entries}
    assert list(ids.values()) == [first, second]
    await feed.create("behind", after_position=min(ids))
    assert [entry.operation_id for entry in (await feed.read("behind")).entries] == [second]
    assert not (await feed.read("now")).entries
    third = await succeed(operation_gateway)
    assert [entry.operation_id for entry in (await feed.read("now")).entries] == [third]


async def test_cursor_is_the_same_when_it_is_made_again(
    operation_gateway: RunningGateway, feed: FeedClient
) -> None:
    """Wherever it is; what it wants never changes under its consumer."""
    made = await feed.create(endpoint=ENDPOINT, kinds=[pb.FEED_KIND_FAILED, pb.FEED_KIND_SUCCEEDED])
    assert list(made.kinds) == [pb.FEED_KIND_SUCCEEDED, pb.FEED_KIND_FAILED]
    await succeed(operation_gateway)
    again = await feed.create(
        endpoint=ENDPOINT,
        kinds=[pb.FEED_KIND_SUCCEEDED, pb.FEED_KIND_FAILED, pb.FEED_KIND_SUCCEEDED],
        after_position=0,
    )
    assert again == made
    assert await refused(feed.create()) == (CODE.ALREADY_EXISTS, "CURSOR_EXISTS")
    await feed.delete()
    assert await refused(feed.read()) == (CODE.NOT_FOUND, "CURSOR_NOT_FOUND")
    await feed.create()


async def test_cursor_is_on_record_when_it_is_made_and_deleted(
    operation_gateway: RunningGateway, feed: FeedClient
) -> None:
    """Its moves are not: nothing happened to anybody."""
    await feed.create(after_position=0)
    await feed.create(after_position=0)
    await succeed(operation_gateway)
    await feed.acknowledge(1)
    await feed.delete()
    stored = await operation_gateway.store.read(
        lambda reader: reader.audit_events(AuditFilter(namespace=CALLER))
    )
    changes = [
        (event.cursor_changed.cursor, event.cursor_changed.change, event.actor_namespace)
        for event in (audit_pb2.AuditEvent.FromString(entry.event) for entry in stored)
        if event.WhichOneof("event") == "cursor_changed"
    ]
    assert changes == [("nightly", "created", CALLER), ("nightly", "deleted", CALLER)]


async def test_request_is_refused_when_it_is_malformed(feed: FeedClient) -> None:
    """Names, kinds and positions."""
    await feed.create()
    for call in (
        feed.create(""),
        feed.create("-"),
        feed.create("a" * 201),
        feed.create("ok", endpoint="1"),
        feed.create("ok", kinds=[0]),
        feed.create("ok", kinds=[77]),
        feed.create("ok", after_position=2**63),
        feed.read(after_position=2**63),
        feed.acknowledge(2**64 - 1),
        feed.delete("a b"),
    ):
        assert (await refused(call))[0] == CODE.INVALID_ARGUMENT
    for call in (feed.create("ok", after_position=99), feed.read(after_position=99), feed.acknowledge(99)):
        assert await refused(call) == (CODE.FAILED_PRECONDITION, "BEYOND_THE_LOG")
    assert [cursor.name for cursor in (await feed.cursors()).cursors] == ["nightly"]


async def test_cursors_are_limited_when_many_are_made(feed: FeedClient) -> None:
    """A loop that makes names by itself fills nothing."""
    for number in range(MOST_CURSORS):
        await feed.create(f"c{number}")
    assert await refused(feed.create("one-more")) == (CODE.RESOURCE_EXHAUSTED, "TOO_MANY_CURSORS")
    await feed.create("c0")
    await feed.delete("c0")
    await feed.create("one-more")


async def test_readers_are_limited_when_many_wait(
    operation_gateway: RunningGateway, feed: FeedClient
) -> None:
    """Those of one namespace, so that they do not use up the places of others."""
    await feed.create()
    caller, feeds = operation_gateway.client(CALLER), operation_gateway.assembly.feeds
    waiting = [
        asyncio.ensure_future(feed.read(wait_ms=LONG_WAIT_MS)) for _ in range(MAX_READERS_OF_NAMESPACE)
    ]
    while feeds._readers[CALLER] < MAX_READERS_OF_NAMESPACE:
        await make_round_trip(caller)
    assert await refused(feed.read()) == (CODE.RESOURCE_EXHAUSTED, "TOO_MANY_READERS")
    feeds.close()
    for page in await asyncio.gather(*waiting):
        assert not page.entries
    assert not feeds._readers


async def test_reader_is_let_go_when_the_gateway_drains(
    operation_gateway: RunningGateway, feed: FeedClient
) -> None:
    """It hears at once that there is nothing yet, and the next one that it should come back."""
    await feed.create()
    reading = asyncio.ensure_future(feed.read(wait_ms=LONG_WAIT_MS))
    await until_somebody_waits(operation_gateway)
    operation_gateway.assembly.feeds.close()
    assert not (await reading).entries
    assert await refused(feed.read(wait_ms=LONG_WAIT_MS)) == (CODE.UNAVAILABLE, "DRAINING")
