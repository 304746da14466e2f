"""Identities, and how operations become identities: rows and statements.

Operations that are due are found in the audit log: their endings lie there in the order in which they were
committed, and an endpoint has one retention for all. So each endpoint's part of the log is gone through once,
a mark says how far, and an operation that closes pays nothing for the time when it will be deleted.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, func, select

from isthmus.gateway.audit.index import TYPES
from isthmus.gateway.core.audit_record import OperationEnded
from isthmus.gateway.core.identity import Identity
from isthmus.gateway.core.operation import State
from isthmus.gateway.ports import Retired
from isthmus.gateway.store import operation_tokens
from isthmus.gateway.store.driver import Connection
from isthmus.gateway.store.moments import from_microseconds, to_microseconds
from isthmus.gateway.store.operations import (
    Ident,
    key_from_row,
    message_ids,
)
from isthmus.gateway.store.schema import (
    audit_events,
    envelopes,
    has_endpoint,
    identities,
    operations,
    retention_marks,
)
from isthmus.gateway.store.statements import (
    FROM_THE_FIRST,
    Query,
    Row,
    column_list,
    compile_query,
    delete_many,
    for_keys,
    insert_many,
    select_many,
)
from isthmus.wire.names import EndpointName, NamespaceName

_ENDED: Final = TYPES[OperationEnded]
_BEYOND_EVERY_POSITION: Final = 2**63 - 1
_STATES: Final = {state.value: state for state in State}

One = Callable[[Query, Row], Row | None]
"""Runs a query and returns its first row."""

SELECT = compile_query(
    select(identities).where(
        identities.c.operation_id == bindparam("operation_id"), identities.c.caller == bindparam("caller")
    ),
    "operation_id",
    "caller",
)
SELECT_MANY = select_many(identities, "operation_id", "caller")
# A handler knows the id and not always the caller; of two callers' one is as good as the other here.
SELECT_HANDLED = compile_query(
    select(identities)
    .where(
        identities.c.operation_id == bindparam("operation_id"), identities.c.handler == bindparam("handler")
    )
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "operation_id",
    "handler",
    "most",
)
SELECT_FIRST_END = compile_query(select(func.min(identities.c.closed_at)))
SELECT_FORGOTTEN = compile_query(
    select(identities.c.position, identities.c.caller, identities.c.operation_id)
    .where(identities.c.closed_at <= bindparam("closed_until"))
    .order_by(identities.c.closed_at)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "closed_until",
    "most",
)
SELECT_MARK = compile_query(
    select(retention_marks.c.position).where(retention_marks.c.endpoint == bindparam("endpoint")), "endpoint"
)
PUT_MARK = insert_many(retention_marks, replace_by=("endpoint",))
# The time of the log never runs backwards: everything before this place is as old or older.
SELECT_FIRST_AFTER = compile_query(
    select(audit_events.c.position)
    .where(audit_events.c.recorded_at > bindparam("recorded_at"))
    .order_by(audit_events.c.recorded_at, audit_events.c.position)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "recorded_at",
    "most",
)
SELECT_EVENTS = compile_query(
    select(audit_events.c.position, audit_events.c.type, audit_events.c.operation)
    .where(
        audit_events.c.endpoint == bindparam("endpoint"),
        has_endpoint,
        audit_events.c.position > bindparam("after"),
        audit_events.c.position < bindparam("before"),
    )
    .order_by(audit_events.c.position)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "endpoint",
    "after",
    "before",
    "most",
)
_COLUMNS: Final = ", ".join(column_list(identities))
INSERT_CLOSED = for_keys(
    f"INSERT INTO identities ({_COLUMNS}) SELECT {_COLUMNS} FROM operations",  # noqa: S608 - only names
    operations,
    "position",
)
SELECT_KEYS = for_keys(
    "SELECT operations.caller, operations.operation_id FROM operations", operations, "position"
)
DELETE_OPERATIONS = delete_many(operations, "position")
SELECT_SIGNALS = for_keys(
    "SELECT operations.position, operations.signals FROM operations", operations, "position"
)
DELETE_ENVELOPES = delete_many(envelopes, "envelope_id")
DELETE_IDENTITIES = delete_many(identities, "position")


def is_due(one: One, endpoint: str, closed_until: datetime) -> bool:
    """Whether the log of an endpoint has something that old which was not gone through."""
    return one(SELECT_EVENTS, _walk(one, endpoint, closed_until, 1)) is not None


def retire(
    connection: Connection, endpoint: str, closed_until: datetime, limit: int
) -> tuple[Retired, Sequence[Ident]]:
    """Make identities of what closed until a moment; return which operations are gone."""

    def one(query: Query, parameters: Row) -> Row | None:
        row: Row | None = connection.execute(query, parameters).fetchone()
        return row

    events = connection.execute(SELECT_EVENTS, _walk(one, endpoint, closed_until, limit)).fetchall()
    if not events:
        return Retired(operations=0, more=False), ()
    positions = [(operation,) for _, kind, operation in events if kind == _ENDED and operation is not None]
    gone = SELECT_KEYS.select(connection, positions)
    INSERT_CLOSED.run(connection, positions)
    signaled = SELECT_SIGNALS.select(connection, positions)
    # In the order in which they lie: those of one slot are together.
    kept = sorted(identity for position, count in signaled for identity, _, _ in message_ids(position, count))
    DELETE_ENVELOPES.run(connection, [(identity,) for identity in kept])
    operation_tokens.DELETE.run(connection, positions)
    DELETE_OPERATIONS.run(connection, positions)
    PUT_MARK.run(connection, [(endpoint, events[-1][0])])
    return Retired(operations=len(gone), more=len(events) == limit), [
        (caller, operation_id) for caller, operation_id in gone
    ]


def from_row(row: Row) -> Identity:
    """Return the identity of a row of all columns."""
    (
        _position,
        caller,
        operation_id,
        handler,
        endpoint,
        service,
        operation,
        state,
        request_digest,
        outcome_digest,
        closed_at,
    ) = row
    return Identity(
        key=key_from_row((caller, operation_id)),
        handler=NamespaceName(handler),
        endpoint=EndpointName(endpoint),
        service=service,
        operation=operation,
        state=_STATES[state],
        request_digest=request_digest,
        outcome_digest=outcome_digest,
        closed_at=from_microseconds(closed_at),
    )


def _walk(one: One, endpoint: str, closed_until: datetime, limit: int) -> Row:
    """Return the parameters of SELECT_EVENTS."""
    mark = one(SELECT_MARK, (endpoint,))
    first_after = one(SELECT_FIRST_AFTER, (to_microseconds(closed_until), 1))
    return (
        endpoint,
        0 if mark is None else mark[0],
        _BEYOND_EVERY_POSITION if first_after is None else first_after[0],
        limit,
    )
