"""Feeds and cursors as protobuf messages."""

from datetime import UTC, datetime

from isthmus.gateway.api.operation_messages import state_from, timestamp
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.gateway.core.feed import KIND_OF_END, Cursor, FeedKind
from isthmus.v1 import audit_pb2
from isthmus.v1 import feed_service_pb2 as pb

KINDS = {
    FeedKind.SUCCEEDED: pb.FEED_KIND_SUCCEEDED,
    FeedKind.FAILED: pb.FEED_KIND_FAILED,
    FeedKind.CANCELED: pb.FEED_KIND_CANCELED,
    FeedKind.EVENT: pb.FEED_KIND_EVENT,
}
_KIND_OF = {wire: kind for kind, wire in KINDS.items()}


def kind_from(wire: int) -> FeedKind:
    """Return the kind that a wire value names. Raises InvalidRequestError."""
    kind = _KIND_OF.get(wire)  # type: ignore[call-overload]
    if kind is None:
        raise InvalidRequestError("a kind of entries is unknown", reason="FEED_KIND")
    return kind  # type: ignore[no-any-return]


def cursor_message(cursor: Cursor) -> pb.Cursor:
    """Return a cursor as its namespace sees it."""
    return pb.Cursor(
        name=cursor.name,
        endpoint=cursor.endpoint,
        kinds=[KINDS[kind] for kind in cursor.kinds],
        position=cursor.position,
        created_at=timestamp(cursor.created_at),
        acknowledged_at=timestamp(cursor.acknowledged_at),
    )


def entry_message(cursor: Cursor, position: int, event: bytes) -> pb.FeedEntry | None:
    """Return the entry that an audit record makes, None when the cursor does not want it."""
    record = audit_pb2.AuditEvent.FromString(event)
    if record.WhichOneof("event") == "event_published":
        return _published(cursor, position, record)
    ended = record.operation_ended
    about = ended.operation
    state = state_from(ended.state)
    kind = None if state is None else KIND_OF_END.get(state)
    if kind is None or not cursor.wants(kind, about.endpoint):
        return None
    return pb.FeedEntry(
        position=position,
        event_id=about.operation_id,
        kind=KINDS[kind],
        occurred_at=timestamp(datetime.fromtimestamp(record.occurred_at_ms / 1000, tz=UTC)),
        endpoint=about.endpoint,
        service=about.service,
        operation=about.operation,
        handler_namespace=about.handler_namespace,
        operation_id=about.operation_id,
        state=ended.state,
        statement=ended.statement,
    )


def _published(cursor: Cursor, position: int, record: audit_pb2.AuditEvent) -> pb.FeedEntry | None:
    published = record.event_published
    if not cursor.wants(FeedKind.EVENT, published.endpoint):
        return None
    return pb.FeedEntry(
        position=position,
        event_id=published.event_id,
        kind=pb.FEED_KIND_EVENT,
        occurred_at=timestamp(datetime.fromtimestamp(record.occurred_at_ms / 1000, tz=UTC)),
        endpoint=published.endpoint,
        operation=published.name,
        handler_namespace=published.publisher_namespace,
    )
