"""What is kept for a namespace, whichever operation or event it belongs to: beginnings, in pages.

A page looks at so many operations, in the order of their positions, then at so many events. Bodies are not
read: headers and wraps come first in an envelope.
"""

from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import bindparam, func, literal_column, select
from sqlalchemy.sql.schema import Column

from isthmus.gateway.ports.values import MessagePlace, SealedHead, SealedPage
from isthmus.gateway.store.operations import message_ids
from isthmus.gateway.store.schema import envelopes, operations, published_events
from isthmus.gateway.store.statements import FROM_THE_FIRST, ManyRows, Query, Row, compile_query, for_keys
from isthmus.wire.limits import MAX_SEALED_HEAD_BYTES
from isthmus.wire.names import NamespaceName, OperationId

_OPERATIONS: Final = "o"
_EVENTS: Final = "e"
_BEFORE_ALL: Final = -1

All = Callable[[Query, Row], Sequence[Row]]
"""Runs a query and returns its rows."""
Many = Callable[[ManyRows, Sequence[Row]], Sequence[Row]]
"""Runs a query about many keys and returns its rows."""


def _positions_of(side: Column[str]) -> Query:
    return compile_query(
        select(
            operations.c.position,
            operations.c.caller,
            operations.c.operation_id,
            operations.c.signals,
            operations.c.next_timeout_at,
        )
        .where(side == bindparam("namespace"), operations.c.position > bindparam("after"))
        .order_by(operations.c.position)
        .limit(bindparam("most"))
        .offset(FROM_THE_FIRST),
        "namespace",
        "after",
        "most",
    )


SELECT_CALLED = _positions_of(operations.c.caller)
SELECT_HANDLED = _positions_of(operations.c.handler)
SELECT_HEADS = for_keys(
    f"SELECT envelope_id, substr(envelope, 1, {MAX_SEALED_HEAD_BYTES}) FROM envelopes",  # noqa: S608 - a number
    envelopes,
    "envelope_id",
)
SELECT_EVENT_HEADS = compile_query(
    select(
        published_events.c.event_key,
        published_events.c.publisher,
        published_events.c.event_id,
        func.substr(
            published_events.c.envelope, literal_column("1"), literal_column(str(MAX_SEALED_HEAD_BYTES))
        ),
    )
    .where(
        published_events.c.reader == bindparam("reader"), published_events.c.event_key > bindparam("after")
    )
    .order_by(published_events.c.event_key)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "reader",
    "after",
    "most",
)


def page(every: All, many: Many, namespace: str, after: str, most: int) -> SealedPage:
    """Return a page of what belongs to a namespace; ``after`` is what the page before said.

    Raises:
        ValueError: no page said so.
    """
    kind, rest = after[:1] or _OPERATIONS, after[1:]
    if kind == _OPERATIONS:
        return _operations(every, many, namespace, int(rest) if rest else _BEFORE_ALL, most)
    if kind == _EVENTS:
        return _events(every, namespace, rest, most)
    raise ValueError("no page ended there")


def _operations(every: All, many: Many, namespace: str, after: int, most: int) -> SealedPage:
    # Whoever calls itself is on both sides.
    found = {
        row[0]: row
        for query in (SELECT_CALLED, SELECT_HANDLED)
        for row in every(query, (namespace, after, most))
    }
    rows = [found[position] for position in sorted(found)[:most]]
    places = {
        identity: (_place(caller, operation_id, part, number), timeout is not None)
        for position, caller, operation_id, signals, timeout in rows
        for identity, part, number in message_ids(position, signals)
    }
    heads = {
        identity: SealedHead(place=places[identity][0], head=bytes(head), is_open=places[identity][1])
        for identity, head in many(SELECT_HEADS, [(identity,) for identity in places])
    }
    is_last = len(found) < most
    return SealedPage(
        heads=[heads[identity] for identity in places if identity in heads],
        next=_EVENTS if is_last else f"{_OPERATIONS}{rows[-1][0]}",
    )


def _events(every: All, namespace: str, after: str, most: int) -> SealedPage:
    rows = every(SELECT_EVENT_HEADS, (namespace, after, most))
    heads = [
        SealedHead(
            place=_place(publisher, event_id, MessagePlace.EVENT, 0),
            head=bytes(head),
            is_open=False,
        )
        for _, publisher, event_id, head in rows
    ]
    return SealedPage(heads=heads, next="" if len(rows) < most else f"{_EVENTS}{rows[-1][0]}")


def _place(namespace: str, ident: bytes, part: str, number: int) -> MessagePlace:
    return MessagePlace(
        namespace=NamespaceName(namespace), ident=OperationId(ident), part=part, number=number
    )
