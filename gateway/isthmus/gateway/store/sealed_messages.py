"""What is kept for a namespace, whichever operation or event it belongs to: beginnings, in pages.

A page looks at so many operations that the namespace called or handled, in the order of their positions; then
at those of endpoints whose owners ever signed that it reads along, one endpoint after the other; then at so
many events. Bodies are not read: headers and wraps come first in an envelope.
"""

from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import bindparam, func, literal_column, select
from sqlalchemy.sql.schema import Column

from isthmus.gateway.ports.values import MessagePlace, SealedHead, SealedPage
from isthmus.gateway.store.operations import message_ids
from isthmus.gateway.store.schema import endpoint_records, envelopes, operations, published_events
from isthmus.gateway.store.statements import FROM_THE_FIRST, ManyRows, Query, Row, compile_query, for_keys
from isthmus.wire.endpoint_record import EndpointRecord
from isthmus.wire.limits import MAX_SEALED_HEAD_BYTES
from isthmus.wire.names import NamespaceName, OperationId

_OPERATIONS: Final = "o"
_READ_ALONG: Final = "r"
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
            operations.c.handler,
        )
        .where(side == bindparam("name"), operations.c.position > bindparam("after"))
        .order_by(operations.c.position)
        .limit(bindparam("most"))
        .offset(FROM_THE_FIRST),
        "name",
        "after",
        "most",
    )


SELECT_CALLED = _positions_of(operations.c.caller)
SELECT_HANDLED = _positions_of(operations.c.handler)
SELECT_AT_ENDPOINT = _positions_of(operations.c.endpoint)
# They are few: a handful of versions for each endpoint of those who sign.
SELECT_RECORDS = compile_query(select(endpoint_records.c.endpoint, endpoint_records.c.record))
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
    if kind == _READ_ALONG:
        return _read_along(every, many, namespace, rest, most)
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
    is_last = len(found) < most
    after_these = _READ_ALONG if is_last else f"{_OPERATIONS}{rows[-1][0]}"
    return SealedPage(heads=_heads(many, rows), next=after_these)


def _read_along(every: All, many: Many, namespace: str, after: str, most: int) -> SealedPage:
    endpoint, _, position = after.partition("/")
    start = int(position) if position else _BEFORE_ALL
    name = namespace.encode()
    endpoints = sorted(
        {
            at
            for at, record in every(SELECT_RECORDS, ())
            if at >= endpoint and name in bytes(record) and namespace in _readers(bytes(record))
        }
    )
    if not endpoints:
        return _events(every, namespace, "", most)
    first = endpoints[0]
    rows = every(SELECT_AT_ENDPOINT, (first, start if first == endpoint else _BEFORE_ALL, most))
    # What it called or handled itself came before.
    heads = _heads(many, [row for row in rows if namespace not in {row[1], row[5]}])
    if len(rows) == most:
        return SealedPage(heads=heads, next=f"{_READ_ALONG}{first}/{rows[-1][0]}")
    return SealedPage(heads=heads, next=f"{_READ_ALONG}{endpoints[1]}/" if len(endpoints) > 1 else _EVENTS)


def _readers(record: bytes) -> Sequence[str]:
    return EndpointRecord.decode(record).required_recipients


def _heads(many: Many, rows: Sequence[Row]) -> list[SealedHead]:
    places = {
        identity: (_place(caller, operation_id, part, number), timeout is not None)
        for position, caller, operation_id, signals, timeout, _ in rows
        for identity, part, number in message_ids(position, signals)
    }
    heads = {
        identity: SealedHead(place=places[identity][0], head=bytes(head), is_open=places[identity][1])
        for identity, head in many(SELECT_HEADS, [(identity,) for identity in places])
    }
    return [heads[identity] for identity in places if identity in heads]


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
