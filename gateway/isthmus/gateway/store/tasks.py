"""Tasks and worker sessions: rows and statements."""

from datetime import datetime

from sqlalchemy import bindparam, func, literal_column, select, tuple_

from isthmus.gateway.core.operation import Operation
from isthmus.gateway.ports import QueueKey, Task, TaskKind, WorkerSession
from isthmus.gateway.store.moments import from_microseconds, to_microseconds
from isthmus.gateway.store.operations import from_row, key_from_row
from isthmus.gateway.store.schema import is_leased, is_waiting, operations, tasks, worker_sessions
from isthmus.gateway.store.statements import (
    FROM_THE_FIRST,
    Query,
    Row,
    compile_query,
    delete_many,
    insert_many,
    unindexed,
)
from isthmus.wire.names import NamespaceName

_KIND_BITS = {TaskKind.START: 0, TaskKind.CANCEL: 1}
# Behind all others, which have a bit for their kind.
_SIGNAL_BIT = 1 << 62

_COLUMN = tasks.c
_IN_QUEUE = (
    is_waiting,
    _COLUMN.namespace == bindparam("namespace"),
    _COLUMN.task_queue == bindparam("task_queue"),
)
# Tasks that became ready at the same moment go out in the order in which their operations were started.
_ORDER = (_COLUMN.ready_at, _COLUMN.task_id)

PUT = insert_many(tasks, replace_by=("task_id",))
REMOVE = delete_many(tasks, "task_id")
SELECT = compile_query(select(tasks).where(_COLUMN.task_id == bindparam("task_id")), "task_id")
SELECT_READY = compile_query(
    select(tasks)
    .where(*_IN_QUEUE, _COLUMN.caller == bindparam("caller"), _COLUMN.ready_at <= bindparam("now"))
    .order_by(*_ORDER)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST)
    .with_for_update(skip_locked=True),
    "namespace",
    "task_queue",
    "caller",
    "now",
    "most",
)
# The same from behind a place in that order, each with its operation: some of them are passed by.
SELECT_AHEAD = compile_query(
    select(tasks, operations)
    .select_from(tasks)
    .join(
        operations,
        (operations.c.operation_id == _COLUMN.operation_id)
        & (unindexed(operations.c.caller) == _COLUMN.caller),
    )
    .where(
        *_IN_QUEUE,
        _COLUMN.caller == bindparam("caller"),
        _COLUMN.ready_at <= bindparam("now"),
        tuple_(*_ORDER) > tuple_(bindparam("ready_at"), bindparam("task_id")),
    )
    .order_by(*_ORDER)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST)
    .with_for_update(skip_locked=True, of=tasks),
    "namespace",
    "task_queue",
    "caller",
    "now",
    "ready_at",
    "task_id",
    "most",
)
_TASK_COLUMNS = len(tasks.columns)
Place = tuple[int, int]
"""Where a task is in the order of its caller's line."""
_BEFORE_ALL: Place = (-1, -1)


def _callers_in_line() -> Query:
    """Write the walk from caller to caller: each step is one look into the index, whatever each has waiting.

    It stops as soon as enough callers are found.
    """
    up_to = _COLUMN.caller <= bindparam("until")
    first = select(func.min(_COLUMN.caller)).where(*_IN_QUEUE, _COLUMN.caller > bindparam("after"), up_to)
    in_line = select(first.scalar_subquery().label("caller")).cte("in_line", recursive=True)
    following = select(func.min(_COLUMN.caller)).where(*_IN_QUEUE, _COLUMN.caller > in_line.c.caller, up_to)
    in_line = in_line.union_all(
        select(following.correlate(in_line).scalar_subquery()).where(in_line.c.caller.is_not(None))
    )
    # Not EXISTS: PostgreSQL would make a join of it, and lose the order of the walk.
    is_ready = (
        select(literal_column("1"))
        .where(*_IN_QUEUE, _COLUMN.caller == in_line.c.caller, _COLUMN.ready_at <= bindparam("now"))
        .limit(literal_column("1"))
        .offset(FROM_THE_FIRST)
        .correlate(in_line)
        .scalar_subquery()
        .is_not(None)
    )
    return compile_query(
        select(in_line.c.caller).where(is_ready).limit(bindparam("most")).offset(FROM_THE_FIRST),
        *("namespace", "task_queue", "after", "until"),
        *("namespace", "task_queue", "until"),
        *("namespace", "task_queue", "now"),
        "most",
    )


SELECT_CALLERS_IN_LINE = _callers_in_line()
_BEHIND_EVERY_NAME = "~"
SELECT_NEXT_READY_AT = compile_query(
    select(_COLUMN.ready_at)
    .where(*_IN_QUEUE, _COLUMN.ready_at > bindparam("after"))
    .order_by(*_ORDER)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "namespace",
    "task_queue",
    "after",
    "most",
)
SELECT_OF_SESSION = compile_query(
    select(tasks).where(is_leased, _COLUMN.session_id == bindparam("session_id")).order_by(_COLUMN.task_id),
    "session_id",
)

PUT_SESSION = insert_many(worker_sessions, replace_by=("session_id",))
REMOVE_SESSION = delete_many(worker_sessions, "session_id")
SELECT_SESSION = compile_query(
    select(worker_sessions).where(worker_sessions.c.session_id == bindparam("session_id")), "session_id"
)
SELECT_PRESENT_VERSIONS = compile_query(
    select(worker_sessions.c.version, func.count())
    .where(
        worker_sessions.c.namespace == bindparam("namespace"),
        worker_sessions.c.task_queue == bindparam("task_queue"),
        worker_sessions.c.expires_at > bindparam("now"),
    )
    .group_by(worker_sessions.c.version),
    "namespace",
    "task_queue",
    "now",
)
# The session stays as long as the transaction that leases to it.
HOLD_SESSION = compile_query(
    select(worker_sessions.c.session_id)
    .where(worker_sessions.c.session_id == bindparam("session_id"))
    .with_for_update(read=True, key_share=True),
    "session_id",
)
SELECT_EXPIRED_SESSIONS = compile_query(
    select(worker_sessions)
    .where(worker_sessions.c.expires_at <= bindparam("now"))
    .order_by(worker_sessions.c.expires_at, worker_sessions.c.session_id)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST)
    .with_for_update(skip_locked=True),
    "now",
    "most",
)


def task_id(position: int, kind: TaskKind) -> int:
    """Return where a task of the operation at a position is."""
    if kind is TaskKind.SIGNAL:
        return _SIGNAL_BIT | position
    return position << 1 | _KIND_BITS[kind]


def _kind(identity: int) -> TaskKind:
    if identity & _SIGNAL_BIT:
        return TaskKind.SIGNAL
    return TaskKind.CANCEL if identity & 1 else TaskKind.START


def task_row(identity: int, task: Task) -> Row:
    """Return the row of a task, in the order of the columns."""
    return (
        identity,
        task.key.caller,
        task.key.operation_id,
        task.queue.namespace,
        task.queue.task_queue,
        task.attempt,
        to_microseconds(task.ready_at),
        task.session_id,
    )


def task_from_row(row: Row) -> Task:
    """Return the task of a row of all columns."""
    identity, caller, operation_id, namespace, task_queue, attempt, ready_at, session_id = row
    return Task(
        key=key_from_row((caller, operation_id)),
        kind=_kind(identity),
        queue=QueueKey(namespace=NamespaceName(namespace), task_queue=task_queue),
        attempt=attempt,
        ready_at=from_microseconds(ready_at),
        session_id=session_id,
    )


def ready_parameters(queue: QueueKey, caller: str, now: datetime, limit: int) -> Row:
    """Return the parameters of SELECT_READY."""
    return queue.namespace, queue.task_queue, caller, to_microseconds(now), limit


def in_line_parameters(
    queue: QueueKey, now: datetime, limit: int, *, after: str = "", until: str = _BEHIND_EVERY_NAME
) -> Row:
    """Return the parameters of SELECT_CALLERS_IN_LINE: names greater than ``after``, up to ``until``."""
    of_queue = (queue.namespace, queue.task_queue)
    return (*of_queue, after, until, *of_queue, until, *of_queue, to_microseconds(now), limit)


def place_of(position: int | None, task: Task) -> Place:
    """Return where a task is in line, by the position of its operation; None: before all of its moment."""
    return to_microseconds(task.ready_at), -1 if position is None else task_id(position, task.kind)


def ahead_parameters(queue: QueueKey, caller: str, now: datetime, limit: int, after: Place | None) -> Row:
    """Return the parameters of SELECT_AHEAD."""
    place = _BEFORE_ALL if after is None else after
    return queue.namespace, queue.task_queue, caller, to_microseconds(now), *place, limit


def with_operation(row: Row) -> tuple[Task, Operation]:
    """Return the task and the operation of a row of SELECT_AHEAD."""
    return task_from_row(row[:_TASK_COLUMNS]), from_row(row[_TASK_COLUMNS:]).operation


def next_ready_parameters(queue: QueueKey, after: datetime | None) -> Row:
    """Return the parameters of SELECT_NEXT_READY_AT."""
    return queue.namespace, queue.task_queue, -1 if after is None else to_microseconds(after), 1


def present_parameters(queue: QueueKey, now: datetime) -> Row:
    """Return the parameters of SELECT_PRESENT_VERSIONS."""
    return queue.namespace, queue.task_queue, to_microseconds(now)


def session_row(session: WorkerSession) -> Row:
    """Return the row of a session, in the order of the columns."""
    return (
        session.session_id,
        session.queue.namespace,
        session.queue.task_queue,
        session.principal,
        session.identity,
        session.version,
        to_microseconds(session.expires_at),
    )


def session_from_row(row: Row) -> WorkerSession:
    """Return the session of a row of all columns."""
    session_id, namespace, task_queue, principal, identity, version, expires_at = row
    return WorkerSession(
        session_id=session_id,
        queue=QueueKey(namespace=NamespaceName(namespace), task_queue=task_queue),
        principal=principal,
        identity=identity,
        version=version,
        expires_at=from_microseconds(expires_at),
    )
