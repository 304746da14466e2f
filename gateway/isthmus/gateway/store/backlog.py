"""What waits for what, counted by the database: rows and statements."""

from datetime import datetime

from sqlalchemy import ColumnElement, bindparam, case, func, literal_column, select

from isthmus.gateway.core.operation import KEY_UNAVAILABLE, AttemptEnd, State
from isthmus.gateway.ports import WaitingGroup
from isthmus.gateway.store.moments import from_microseconds, to_microseconds
from isthmus.gateway.store.schema import is_open, operations
from isthmus.gateway.store.statements import FROM_THE_FIRST, Query, Row, compile_query

_COLUMN = operations.c
_STATES = {state.value: state for state in State}
_ATTEMPT_ENDS = {end.value: end for end in AttemptEnd}
# Written out: a bound value would be one more parameter of each call.
_SCHEDULED: ColumnElement[str] = literal_column(f"'{State.SCHEDULED.value}'")
_KEY_UNAVAILABLE: ColumnElement[str] = literal_column(f"'{KEY_UNAVAILABLE}'")
_YES: ColumnElement[int] = literal_column("1")
_NO: ColumnElement[int] = literal_column("0")


def _busy_endpoints() -> Query:
    """Write the walk from endpoint to endpoint: each step is one look into the index of open operations."""
    first = select(func.min(_COLUMN.endpoint)).where(is_open, _COLUMN.endpoint > bindparam("after"))
    busy = select(first.scalar_subquery().label("endpoint")).cte("busy", recursive=True)
    following = select(func.min(_COLUMN.endpoint)).where(is_open, _COLUMN.endpoint > busy.c.endpoint)
    busy = busy.union_all(
        select(following.correlate(busy).scalar_subquery()).where(busy.c.endpoint.is_not(None))
    )
    return compile_query(
        select(busy.c.endpoint)
        .where(busy.c.endpoint.is_not(None))
        .limit(bindparam("most"))
        .offset(FROM_THE_FIRST),
        "after",
        "most",
    )


SELECT_BUSY_ENDPOINTS = _busy_endpoints()


def _groups() -> Query:
    scheduled = _COLUMN.state == _SCHEDULED
    is_delayed = case((scheduled & (_COLUMN.next_attempt_at > bindparam("now")), _YES), else_=_NO)
    is_key_missing = case((_COLUMN.last_attempt_error == _KEY_UNAVAILABLE, _YES), else_=_NO)
    # A task that was delayed waits in line since its time came.
    since = case(
        (scheduled & (_COLUMN.next_attempt_at <= bindparam("now")), _COLUMN.next_attempt_at),
        else_=_COLUMN.state_since,
    )
    some = (
        select(
            _COLUMN.handler,
            _COLUMN.task_queue,
            _COLUMN.caller,
            _COLUMN.state,
            _COLUMN.last_attempt_end,
            is_key_missing.label("is_key_missing"),
            is_delayed.label("is_delayed"),
            since.label("since"),
        )
        .where(_COLUMN.endpoint == bindparam("endpoint"), is_open)
        .limit(bindparam("most"))
        .offset(FROM_THE_FIRST)
        .subquery()
    )
    same = (
        some.c.handler,
        some.c.task_queue,
        some.c.caller,
        some.c.state,
        some.c.last_attempt_end,
        some.c.is_key_missing,
        some.c.is_delayed,
    )
    return compile_query(
        select(*same, func.count(), func.min(some.c.since)).group_by(*same),
        *("now", "now", "endpoint", "most"),
    )


SELECT_GROUPS = _groups()


def group_parameters(endpoint: str, now: datetime, limit: int) -> Row:
    """Return the parameters of SELECT_GROUPS."""
    moment = to_microseconds(now)
    return moment, moment, endpoint, limit


def group_from_row(endpoint: str, row: Row) -> WaitingGroup:
    """Return the group of a row of SELECT_GROUPS."""
    handler, task_queue, caller, state, last_attempt_end, is_key_missing, is_delayed, count, since = row
    return WaitingGroup(
        endpoint=endpoint,
        handler=handler,
        task_queue=task_queue,
        caller=caller,
        state=_STATES[state],
        last_attempt_end=None if last_attempt_end is None else _ATTEMPT_ENDS[last_attempt_end],
        is_key_missing=bool(is_key_missing),
        is_delayed=bool(is_delayed),
        operations=count,
        since=from_microseconds(since),
    )
