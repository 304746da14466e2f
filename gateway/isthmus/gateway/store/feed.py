"""Cursors, and the part of the audit log that a feed is read from: rows and statements.

A feed needs no table of its own. The end of an operation is on record already, in the index of its caller,
and positions of the log follow the order of commits: so an entry costs nothing until somebody reads it.
"""

from typing import Final

from sqlalchemy import bindparam, case, func, select

from isthmus.gateway.audit.index import TYPES
from isthmus.gateway.core.audit_record import EventPublished, OperationEnded
from isthmus.gateway.core.feed import Cursor, FeedKind, PublishedEvent
from isthmus.gateway.ports.feed import FeedRecord
from isthmus.gateway.store.moments import (
    from_microseconds,
    optional_from_microseconds,
    optional_to_microseconds,
    to_microseconds,
)
from isthmus.gateway.store.schema import audit_events, cursors, is_by_caller, published_events
from isthmus.gateway.store.statements import FROM_THE_FIRST, Row, compile_query, delete_many, insert_many
from isthmus.wire.names import NamespaceName

_ENDED: Final = TYPES[OperationEnded]
_PUBLISHED: Final = TYPES[EventPublished]
_KINDS: Final = {kind.value: kind for kind in FeedKind}
_SEPARATOR: Final = ","

PUT = insert_many(cursors, replace_by=("cursor_id",))
REMOVE = delete_many(cursors, "cursor_id")
SELECT = compile_query(select(cursors).where(cursors.c.cursor_id == bindparam("cursor_id")), "cursor_id")
LIST = compile_query(
    select(cursors)
    .where(cursors.c.namespace == bindparam("namespace"))
    .order_by(cursors.c.name)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "namespace",
    "most",
)
COUNT = compile_query(select(func.count()).where(cursors.c.namespace == bindparam("namespace")), "namespace")
SELECT_RECORDS = compile_query(
    select(
        audit_events.c.position,
        case(
            (audit_events.c.type == bindparam("ended"), audit_events.c.event),
            (audit_events.c.type == bindparam("published"), audit_events.c.event),
        ),
    )
    .where(
        audit_events.c.caller == bindparam("namespace"),
        is_by_caller,
        audit_events.c.position > bindparam("after"),
    )
    .order_by(audit_events.c.position)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "ended",
    "published",
    "namespace",
    "after",
    "most",
)

PUT_EVENT = insert_many(published_events, replace_by=("event_key",))
REMOVE_EVENT = delete_many(published_events, "event_key")
SELECT_EVENT = compile_query(
    select(published_events).where(published_events.c.event_key == bindparam("event_key")), "event_key"
)
SELECT_EXPIRED_EVENTS = compile_query(
    select(published_events.c.event_key)
    .where(published_events.c.expires_at <= bindparam("until"))
    .order_by(published_events.c.expires_at)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "until",
    "most",
)


def event_key(reader: str, publisher: str, event_id: bytes) -> str:
    """Return the key of an event."""
    return f"{reader}/{publisher}/{event_id.hex()}"


def event_row(event: PublishedEvent) -> Row:
    """Return the row of an event, in the order of the columns."""
    return (
        event_key(event.reader, event.publisher, event.event_id),
        event.reader,
        event.publisher,
        event.event_id,
        event.envelope,
        to_microseconds(event.expires_at),
    )


def event_from_row(row: Row) -> PublishedEvent:
    """Return the event of a row of all columns."""
    _, reader, publisher, event_id, envelope, expires_at = row
    return PublishedEvent(
        reader=NamespaceName(reader),
        publisher=NamespaceName(publisher),
        event_id=event_id,
        envelope=envelope,
        expires_at=from_microseconds(expires_at),
    )


def cursor_id(namespace: str, name: str) -> str:
    """Return the key of a cursor; the name of a namespace has no slash."""
    return f"{namespace}/{name}"


def record_parameters(namespace: str, after: int, limit: int) -> Row:
    """Return the parameters of SELECT_RECORDS."""
    return _ENDED, _PUBLISHED, namespace, after, limit


def record_from_row(row: Row) -> FeedRecord:
    """Return a record of SELECT_RECORDS."""
    position, event = row
    return FeedRecord(position=position, event=event)


def cursor_row(cursor: Cursor) -> Row:
    """Return the row of a cursor, in the order of the columns."""
    return (
        cursor_id(cursor.namespace, cursor.name),
        cursor.namespace,
        cursor.name,
        cursor.endpoint,
        _SEPARATOR.join(kind.value for kind in cursor.kinds),
        cursor.position,
        to_microseconds(cursor.created_at),
        optional_to_microseconds(cursor.acknowledged_at),
    )


def cursor_from_row(row: Row) -> Cursor:
    """Return the cursor of a row of all columns."""
    _, namespace, name, endpoint, kinds, position, created_at, acknowledged_at = row
    return Cursor(
        namespace=NamespaceName(namespace),
        name=name,
        endpoint=endpoint,
        kinds=tuple(_KINDS[kind] for kind in kinds.split(_SEPARATOR) if kind),
        position=position,
        created_at=from_microseconds(created_at),
        acknowledged_at=optional_from_microseconds(acknowledged_at),
    )
