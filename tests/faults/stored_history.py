"""What the store says of a run, read behind the gateway's back: the same SQL for every kind of store."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, text
from tests.faults.kill.records import Stored
from tests.faults.records import ENDS, GOES_OUT, WAITS, QueueEvent, Timing

from isthmus.v1 import audit_pb2
from isthmus.wire.names import OperationId, format_operation_id

_OPERATIONS = text(
    """
SELECT o.operation_id, o.state, o.outcome_digest, o.scheduled_at, o.first_dispatched_at,
  o.start_to_close_timeout, o.schedule_to_close_at, o.closed_at, o.statement,
  (SELECT count(*) FROM audit_events a WHERE a.operation = o.position AND a.type = 'operation_started')
    AS starts,
  (SELECT count(*) FROM audit_events a WHERE a.operation = o.position AND a.type = 'operation_ended')
    AS ends
FROM operations o WHERE o.caller = :caller
"""
)
_QUEUE = text(
    """
SELECT position, type, event FROM audit_events
WHERE type IN ('operation_started', 'task_dispatched', 'operation_ended') ORDER BY position
"""
)
_TIMED_OUT = "timed_out_"


def read_operations(connection: Connection, caller: str) -> tuple[tuple[Stored, ...], tuple[Timing, ...]]:
    """Return every operation that a namespace started, and its clocks."""
    rows = connection.execute(_OPERATIONS, {"caller": caller}).all()
    return tuple(map(_stored, rows)), tuple(map(_timing, rows))


def read_queue(connection: Connection) -> tuple[QueueEvent, ...]:
    """Return who began to wait, went out and ended, in the order of the audit log."""
    return tuple(_queue_events(connection.execute(_QUEUE)))


def _queue_events(rows: Iterable[Any]) -> Iterable[QueueEvent]:
    for position, kind, data in rows:
        event = audit_pb2.AuditEvent.FromString(bytes(data))
        about = getattr(event, kind)
        match kind:
            case "operation_started":
                what = GOES_OUT if about.session_id else WAITS
            case "task_dispatched":
                what = GOES_OUT
            case _:
                what = ENDS
        yield QueueEvent(
            position=position,
            caller=about.operation.caller_namespace,
            operation_id=format_operation_id(OperationId(about.operation.operation_id)),
            what=what,
            at_us=event.occurred_at_ms * 1000,
            session=about.session_id.hex() if what == GOES_OUT else "",
        )


def _stored(row: Any) -> Stored:  # noqa: ANN401 - rows are
    return Stored(
        operation_id=format_operation_id(OperationId(bytes(row.operation_id))),
        state=row.state,
        outcome_digest=bytes(row.outcome_digest).hex(),
        starts=row.starts,
        ends=row.ends,
    )


def _timing(row: Any) -> Timing:  # noqa: ANN401 - rows are
    statement = row.statement or ""
    return Timing(
        operation_id=format_operation_id(OperationId(bytes(row.operation_id))),
        scheduled_us=row.scheduled_at,
        dispatched_us=row.first_dispatched_at,
        start_to_close_us=row.start_to_close_timeout,
        schedule_to_close_at_us=row.schedule_to_close_at,
        closed_us=row.closed_at,
        timeout=statement.removeprefix(_TIMED_OUT) if statement.startswith(_TIMED_OUT) else "",
    )
