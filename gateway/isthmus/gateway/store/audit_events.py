"""The audit log: rows and statements."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, func, literal, select, union_all

from isthmus.gateway.audit.encode import encode_audit_record
from isthmus.gateway.audit.index import AuditIndex, index_audit_record
from isthmus.gateway.core.audit_record import AuditRecord
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import AuditFilter, StoredAuditEvent
from isthmus.gateway.store.moments import to_microseconds
from isthmus.gateway.store.schema import (
    audit_events,
    has_endpoint,
    has_operation,
    has_unknown_operation,
    identities,
    is_by_actor,
    is_by_caller,
    is_by_handler,
    operations,
)
from isthmus.gateway.store.statements import (
    FROM_THE_FIRST,
    Query,
    Row,
    append_many,
    compile_query,
    compile_with_parameters,
)

_COLUMN = audit_events.c

INSERT = append_many(audit_events, "position", time="recorded_at")
LAST_POSITION = compile_query(select(func.max(_COLUMN.position)))
LAST_OPERATION_POSITION = compile_query(select(func.max(_COLUMN.operation)).where(has_operation))
LAST_RECORDED_AT = compile_query(select(func.max(_COLUMN.recorded_at)))


class PendingEvent(Value):
    """A record as it will be stored, but for what only the commit knows: its place and its operation's."""

    occurred_at: int
    index: AuditIndex
    event: bytes


def encode(record: AuditRecord) -> PendingEvent:
    """Encode a record while the command that appends it can still fail."""
    return PendingEvent(
        occurred_at=to_microseconds(record.occurred_at),
        index=index_audit_record(record),
        event=encode_audit_record(record),
    )


def insert_row(pending: PendingEvent, recorded_at: int, operation: int | None) -> Row:
    """Return the row of an event, in the order of the columns without position.

    Args:
        pending: the event.
        recorded_at: the time of the log, in microseconds.
        operation: the position of the operation that it is about, None when no operation has that key.
    """
    index = pending.index
    key = index.operation
    return (
        recorded_at,
        index.type,
        index.caller,
        index.handler,
        index.actor,
        index.endpoint,
        operation,
        None if key is None or operation is not None else key.operation_id,
        pending.event,
    )


def page(wanted: AuditFilter) -> tuple[Query, Row]:
    """Return the query of a page of the log, oldest first, and its parameters.

    An event is found through one index: that of its operation, else of a namespace, else of the endpoint,
    else its place. Times are turned into places first, which is exact because the time of the log never runs
    backwards.
    """
    if wanted.operation_id:
        branches = _by_operation(wanted)
    elif wanted.namespace:
        branches = [
            (condition, column == wanted.namespace)
            for condition, column in (
                (is_by_caller, _COLUMN.caller),
                (is_by_handler, _COLUMN.handler),
                (is_by_actor, _COLUMN.actor),
            )
        ]
    else:
        branches = [()]
    conditions = _conditions(wanted)
    selects = [select(_COLUMN.position, _COLUMN.event).where(*branch, *conditions) for branch in branches]
    if len(selects) == 1:
        ordered = selects[0].order_by(_COLUMN.position).limit(wanted.limit).offset(FROM_THE_FIRST)
        return compile_with_parameters(ordered)
    merged = union_all(*selects)
    return compile_with_parameters(
        merged.order_by(merged.selected_columns.position).limit(wanted.limit).offset(FROM_THE_FIRST)
    )


def events(rows: Sequence[Row]) -> list[StoredAuditEvent]:
    """Return the events of a page."""
    return [StoredAuditEvent(position=position, event=event) for position, event in rows]


def _by_operation(wanted: AuditFilter) -> list[tuple[ColumnElement[bool], ...]]:
    known = union_all(
        select(operations.c.position).where(operations.c.operation_id == wanted.operation_id),
        select(identities.c.position).where(identities.c.operation_id == wanted.operation_id),
    )
    return [
        (has_operation, _COLUMN.operation.in_(known)),
        (has_unknown_operation, _COLUMN.operation_id == wanted.operation_id),
    ]


def _conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_COLUMN.position > wanted.after]
    if wanted.operation_id and wanted.namespace:
        namespace = literal(wanted.namespace)
        conditions.append(namespace.in_([_COLUMN.caller, _COLUMN.handler, _COLUMN.actor]))
    if wanted.endpoint:
        conditions.append(_COLUMN.endpoint == wanted.endpoint)
        if not wanted.operation_id:
            # Without this the index of endpoints is out of the question: one operation has few events, while
            # SQLite, which has no statistics, takes those of an endpoint for fewer.
            conditions.append(has_endpoint)
    if wanted.since is not None:
        conditions.append(_COLUMN.position >= _first_at(wanted.since))
    if wanted.until is not None:
        behind_the_end = select(func.max(audit_events.alias().c.position) + 1).scalar_subquery()
        conditions.append(_COLUMN.position < func.coalesce(_first_at(wanted.until), behind_the_end))
    if wanted.types:
        conditions.append(_COLUMN.type.in_(sorted(wanted.types)))
    return conditions


def _first_at(moment: datetime) -> ColumnElement[int]:
    """Return the place of the first event at a moment or later, NULL when there is none."""
    other = audit_events.alias()
    return (
        select(other.c.position)
        .where(other.c.recorded_at >= to_microseconds(moment))
        .order_by(other.c.recorded_at, other.c.position)
        .limit(1)
        .offset(FROM_THE_FIRST)
        .scalar_subquery()
    )
