# ruff: noqa: ARG002, N802 (gRPC names the methods and passes each a context)
"""FeedService: what ended that a namespace called, what is published for it, and who read how much of it."""

from functools import partial

from isthmus.gateway.api.caller import current_principal
from isthmus.gateway.api.event_publishing import EventPublishing
from isthmus.gateway.api.feed_messages import cursor_message, kind_from
from isthmus.gateway.api.feed_reading import FeedReading
from isthmus.gateway.api.feed_watch import FeedWatch
from isthmus.gateway.commands.cursors import (
    MOST_CURSORS,
    acknowledge,
    beyond_the_log,
    create_cursor,
    delete_cursor,
)
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.gateway.core.feed import Cursor, in_order
from isthmus.gateway.ports import Clock, Store
from isthmus.v1 import feed_service_pb2 as pb
from isthmus.v1 import feed_service_pb2_grpc as pb_grpc
from isthmus.wire.names import check_cursor, check_endpoint

DEFAULT_ENTRIES = 100
MAX_ENTRIES = 500
MAX_WAIT_SECONDS = 60.0
_MAX_POSITION = 2**63 - 1


class FeedService(pb_grpc.FeedServiceServicer):
    """The feed of the principal's own namespace."""

    def __init__(self, store: Store, *, clock: Clock, watch: FeedWatch, events: EventPublishing) -> None:
        self._store = store
        self._clock = clock
        self._reading = FeedReading(store, watch)
        self._events = events

    async def CreateCursor(self, request: pb.CreateCursorRequest, context: object) -> pb.CreateCursorResponse:
        """Make a cursor, or answer with the one that exists."""
        principal, now = current_principal(), self._clock.now()
        last_position = await self._store.read(lambda reader: reader.last_audit_position())
        position = last_position
        if request.HasField("after_position"):
            position = _position(request.after_position)
            if position > last_position:
                raise beyond_the_log()
        cursor = Cursor(
            namespace=principal.namespace,
            name=check_cursor(request.name),
            endpoint=check_endpoint(request.endpoint) if request.endpoint else "",
            kinds=in_order(map(kind_from, request.kinds)),
            position=position,
            created_at=now,
        )
        command = partial(create_cursor, cursor=cursor, actor=principal.actor, now=now)
        return pb.CreateCursorResponse(cursor=cursor_message(await self._store.transact(command)))

    async def ListCursors(self, request: pb.ListCursorsRequest, context: object) -> pb.ListCursorsResponse:
        """List the cursors of the namespace."""
        namespace = current_principal().namespace
        cursors, last_position = await self._store.read(
            lambda reader: (reader.list_cursors(namespace, MOST_CURSORS), reader.last_audit_position())
        )
        return pb.ListCursorsResponse(
            cursors=[cursor_message(cursor) for cursor in cursors], last_position=last_position
        )

    async def DeleteCursor(self, request: pb.DeleteCursorRequest, context: object) -> pb.DeleteCursorResponse:
        """Forget a cursor."""
        principal = current_principal()
        command = partial(
            delete_cursor,
            namespace=principal.namespace,
            name=check_cursor(request.name),
            actor=principal.actor,
            now=self._clock.now(),
        )
        await self._store.transact(command)
        return pb.DeleteCursorResponse()

    async def ReadFeed(self, request: pb.ReadFeedRequest, context: object) -> pb.ReadFeedResponse:
        """Return entries, or wait for the next one."""
        return await self._reading.read(
            current_principal().namespace,
            check_cursor(request.cursor),
            after=_position(request.after_position),
            limit=min(request.max_entries or DEFAULT_ENTRIES, MAX_ENTRIES),
            wait_seconds=min(request.wait_ms / 1000, MAX_WAIT_SECONDS),
        )

    async def AcknowledgeFeed(
        self, request: pb.AcknowledgeFeedRequest, context: object
    ) -> pb.AcknowledgeFeedResponse:
        """Move a cursor forward."""
        last_position = await self._store.read(lambda reader: reader.last_audit_position())
        command = partial(
            acknowledge,
            namespace=current_principal().namespace,
            name=check_cursor(request.cursor),
            position=_position(request.position),
            last_position=last_position,
            now=self._clock.now(),
        )
        return pb.AcknowledgeFeedResponse(cursor=cursor_message(await self._store.transact(command)))

    async def PublishEvent(self, request: pb.PublishEventRequest, context: object) -> pb.PublishEventResponse:
        """Publish an event to one reader."""
        return await self._events.publish(current_principal(), request.envelope)

    async def GetEvent(self, request: pb.GetEventRequest, context: object) -> pb.GetEventResponse:
        """Fetch an event that is for this namespace."""
        return await self._events.get(current_principal(), request)


def _position(position: int) -> int:
    if position > _MAX_POSITION:
        raise InvalidRequestError(
            "a position is out of range",
            reason="POSITION",
            fix="begin at a position that the feed showed",
        )
    return position
