"""Operations and their sealed messages: rows and statements."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, func, select

from isthmus.gateway.core.operation import AttemptEnd, Operation, OperationKey, State, Statement
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import EnvelopeSlot, ListedOperation, MessagePlace, OperationFilter
from isthmus.gateway.store.moments import (
    duration_to_microseconds,
    from_microseconds,
    optional_from_microseconds,
    optional_to_microseconds,
    to_microseconds,
)
from isthmus.gateway.store.schema import envelopes, is_open, operations
from isthmus.gateway.store.statements import (
    FROM_THE_FIRST,
    Query,
    Row,
    compile_query,
    compile_with_parameters,
    insert_many,
    select_many,
    unindexed,
    update_many,
)
from isthmus.wire.header import Direction
from isthmus.wire.limits import MAX_CALLER_CONTEXTS
from isthmus.wire.names import EndpointName, NamespaceName, OperationId

MOST_COUNTED = 1000
_MOST_HANDLED = 2

Ident = tuple[str, bytes]
"""(caller, operation id): an OperationKey that hashes and compares in C."""


class StoredOperation(Value):
    """An operation and its place in the listing order, which everything that belongs to it is filed under."""

    position: int
    operation: Operation


# What an operation is born with never changes; an update leaves it alone, and with it the indexes on it.
_CHANGING = (
    "state",
    "state_since",
    "attempt",
    "attempts_spent",
    "session_id",
    "first_dispatched_at",
    "next_attempt_at",
    "last_attempt_end",
    "last_attempt_error",
    "cancel_requested",
    "closed_at",
    "outcome",
    "outcome_digest",
    "outcome_bytes",
    "statement",
    "next_timeout_at",
    "heartbeat_at",
    "version",
    "signals",
    "signal_bytes",
)

# Each slot has a range of its own, so that messages written together lie together: an outcome between two
# requests would split the page that they fill. The commonest are first and last: appending is cheapest there.
_SLOT_RANGE_BITS = 48
_SLOTS = {
    EnvelopeSlot.REQUEST: 0,
    EnvelopeSlot.STARTED: 1 << _SLOT_RANGE_BITS,
    EnvelopeSlot.LAST_FAILURE: 2 << _SLOT_RANGE_BITS,
    EnvelopeSlot.CANCEL: 3 << _SLOT_RANGE_BITS,
    EnvelopeSlot.OUTCOME: 4 << _SLOT_RANGE_BITS,
    EnvelopeSlot.DETAILS: 5 << _SLOT_RANGE_BITS,
    EnvelopeSlot.PROGRESS: 6 << _SLOT_RANGE_BITS,
}
# Behind the slots, with room between: further ones go there.
_FIRST_CONTEXT = 32
# Behind every slot that there is or will be.
_SIGNAL_SLOTS = 1024
_STATES = {state.value: state for state in State}
# What an enumeration calls value is a Python function.
_STATE_NAMES = {state: name for name, state in _STATES.items()}
_STATEMENTS = {statement.value: statement for statement in Statement}
_ATTEMPT_ENDS = {end.value: end for end in AttemptEnd}
_DIRECTIONS = {direction.name.lower(): direction for direction in Direction}
_DIRECTION_NAMES = {direction: name for name, direction in _DIRECTIONS.items()}

INSERT = insert_many(operations)
UPDATE = update_many(operations, "position", _CHANGING)
PUT_ENVELOPE = insert_many(envelopes, replace_by=("envelope_id",))
LAST_POSITION = compile_query(select(func.max(operations.c.position)))
_BY_KEY = select(operations).where(
    operations.c.operation_id == bindparam("operation_id"),
    unindexed(operations.c.caller) == bindparam("caller"),
)
SELECT = compile_query(_BY_KEY, "operation_id", "caller")
SELECT_MANY = select_many(operations, "operation_id", "caller")
# For commands: whoever asks for an operation has it, and all that belongs to it, until the commit. Many are
# waited for in one order. One more must not be waited for: two gateways might wait for each other.
SELECT_FOR_CHANGE = compile_query(
    _BY_KEY.with_for_update(key_share=True, nowait=True), "operation_id", "caller"
)
SELECT_MANY_FOR_CHANGE = select_many(operations, "operation_id", "caller", lock_by="operation_id")
SELECT_HANDLED = compile_query(
    select(operations)
    .where(
        operations.c.operation_id == bindparam("operation_id"),
        unindexed(operations.c.handler) == bindparam("handler"),
    )
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "operation_id",
    "handler",
    "most",
)
SELECT_ENVELOPE = compile_query(
    select(envelopes.c.envelope).where(envelopes.c.envelope_id == bindparam("envelope_id")), "envelope_id"
)
SELECT_OVERDUE = compile_query(
    select(operations.c.caller, operations.c.operation_id)
    .where(is_open, operations.c.next_timeout_at <= bindparam("now"))
    .order_by(operations.c.next_timeout_at, operations.c.position)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST)
    .with_for_update(key_share=True, skip_locked=True),
    "now",
    "most",
)
# Oldest first: entries of the partial index lie in the order of positions within an endpoint.
SELECT_OPEN = compile_query(
    select(operations)
    .where(
        operations.c.endpoint == bindparam("endpoint"), is_open, operations.c.position > bindparam("after")
    )
    .order_by(operations.c.position)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST),
    "endpoint",
    "after",
    "most",
)
_SOME_OPEN = (
    select(operations.c.position)
    .where(operations.c.endpoint == bindparam("endpoint"), is_open)
    .limit(bindparam("most"))
    .offset(FROM_THE_FIRST)
)
COUNT_OPEN = compile_query(
    select(func.count()).select_from(_SOME_OPEN.subquery()),
    "endpoint",
    "most",
)
COUNT_OPEN_OF_CALLER = compile_query(
    select(func.count()).where(
        operations.c.endpoint == bindparam("endpoint"), operations.c.caller == bindparam("caller"), is_open
    ),
    "endpoint",
    "caller",
)


def envelope_id(position: int, slot: EnvelopeSlot) -> int:
    """Return where a sealed message of the operation at a position is."""
    return _SLOTS[slot] | position


def context_id(position: int, number: int) -> int:
    """Return where a context of the operation at a position is; numbers count from 0."""
    return (_FIRST_CONTEXT + number) << _SLOT_RANGE_BITS | position


def signal_envelope_id(position: int, number: int) -> int:
    """Return where the n-th signal of the operation at a position is."""
    return (_SIGNAL_SLOTS + number) << _SLOT_RANGE_BITS | position


def message_ids(position: int, signals: int) -> Iterator[tuple[int, str, int]]:
    """Return where each sealed message of an operation would be, and which part and number it is."""
    for slot in EnvelopeSlot:
        yield envelope_id(position, slot), slot.value, 0
    for number in range(MAX_CALLER_CONTEXTS):
        yield context_id(position, number), MessagePlace.CONTEXT, number
    for number in range(1, signals + 1):
        yield signal_envelope_id(position, number), MessagePlace.SIGNAL, number


def handled_parameters(handler: str, operation_id: bytes) -> Row:
    """Return the parameters of SELECT_HANDLED."""
    return operation_id, handler, _MOST_HANDLED


def changes_its_birth(before: Operation, after: Operation) -> bool:
    """Whether two states of an operation differ in what never changes."""
    return _birth(before) != _birth(after)


def _birth(operation: Operation) -> Row:
    return (
        operation.key,
        operation.handler,
        operation.endpoint,
        operation.service,
        operation.operation,
        operation.task_queue,
        operation.principal,
        operation.request_digest,
        operation.request_bytes,
        operation.fingerprint,
        operation.scheduled_at,
        operation.schedule_to_start_at,
        operation.start_to_close_timeout,
        operation.schedule_to_close_at,
    )


def insert_row(position: int, operation: Operation) -> Row:
    """Return the row of a new operation, in the order of the columns."""
    timeout = operation.start_to_close_timeout
    return (
        position,
        operation.key.caller,
        operation.key.operation_id,
        operation.handler,
        operation.endpoint,
        operation.service,
        operation.operation,
        operation.task_queue,
        operation.principal,
        operation.request_digest,
        operation.request_bytes,
        operation.fingerprint,
        to_microseconds(operation.scheduled_at),
        optional_to_microseconds(operation.schedule_to_start_at),
        None if timeout is None else duration_to_microseconds(timeout),
        to_microseconds(operation.schedule_to_close_at),
        *_changing_values(operation),
    )


def update_row(position: int, operation: Operation) -> Row:
    """Return the parameters of UPDATE."""
    return position, *_changing_values(operation)


def _changing_values(operation: Operation) -> Row:
    end = operation.last_attempt_end
    outcome = operation.outcome
    statement = operation.statement
    state = operation.state
    return (
        _STATE_NAMES[state],
        to_microseconds(operation.state_since),
        operation.attempt,
        operation.attempts_spent,
        operation.session_id,
        optional_to_microseconds(operation.first_dispatched_at),
        optional_to_microseconds(operation.next_attempt_at),
        None if end is None else end.value,
        operation.last_attempt_error,
        int(operation.cancel_requested),
        optional_to_microseconds(operation.closed_at),
        None if outcome is None else _DIRECTION_NAMES[outcome],
        operation.outcome_digest,
        operation.outcome_bytes,
        None if statement is None else statement.value,
        None if state.is_terminal else to_microseconds(operation.next_timeout[1]),
        optional_to_microseconds(operation.heartbeat_at),
        operation.version,
        operation.signals,
        operation.signal_bytes,
    )


def from_row(row: Row) -> StoredOperation:
    """Return the operation of a row of all columns."""
    (
        position,
        caller,
        operation_id,
        handler,
        endpoint,
        service,
        operation,
        task_queue,
        principal,
        request_digest,
        request_bytes,
        fingerprint,
        scheduled_at,
        schedule_to_start_at,
        start_to_close_timeout,
        schedule_to_close_at,
        state,
        state_since,
        attempt,
        attempts_spent,
        session_id,
        first_dispatched_at,
        next_attempt_at,
        last_attempt_end,
        last_attempt_error,
        cancel_requested,
        closed_at,
        outcome,
        outcome_digest,
        outcome_bytes,
        statement,
        _next_timeout_at,
        heartbeat_at,
        version,
        signals,
        signal_bytes,
    ) = row
    return StoredOperation(
        position=position,
        operation=Operation(
            key=key_from_row((caller, operation_id)),
            handler=NamespaceName(handler),
            endpoint=EndpointName(endpoint),
            service=service,
            operation=operation,
            task_queue=task_queue,
            principal=principal,
            request_digest=request_digest,
            request_bytes=request_bytes,
            fingerprint=fingerprint,
            scheduled_at=from_microseconds(scheduled_at),
            schedule_to_start_at=optional_from_microseconds(schedule_to_start_at),
            start_to_close_timeout=(
                None if start_to_close_timeout is None else timedelta(microseconds=start_to_close_timeout)
            ),
            schedule_to_close_at=from_microseconds(schedule_to_close_at),
            state=_STATES[state],
            state_since=from_microseconds(state_since),
            attempt=attempt,
            attempts_spent=attempts_spent,
            session_id=session_id,
            first_dispatched_at=optional_from_microseconds(first_dispatched_at),
            next_attempt_at=optional_from_microseconds(next_attempt_at),
            last_attempt_end=None if last_attempt_end is None else _ATTEMPT_ENDS[last_attempt_end],
            last_attempt_error=last_attempt_error,
            cancel_requested=bool(cancel_requested),
            closed_at=optional_from_microseconds(closed_at),
            outcome=None if outcome is None else _DIRECTIONS[outcome],
            outcome_digest=outcome_digest,
            outcome_bytes=outcome_bytes,
            statement=None if statement is None else _STATEMENTS[statement],
            heartbeat_at=optional_from_microseconds(heartbeat_at),
            version=version,
            signals=signals,
            signal_bytes=signal_bytes,
        ),
    )


def key_from_row(row: Row) -> OperationKey:
    """Return the key of a row (caller, operation id)."""
    caller, operation_id = row
    return OperationKey(caller=NamespaceName(caller), operation_id=OperationId(operation_id))


def listing(wanted: OperationFilter) -> tuple[Query, Row]:
    """Return the query of a page of operations, newest first, and its parameters."""
    column = operations.c
    query = select(operations).order_by(column.position.desc()).limit(wanted.limit).offset(FROM_THE_FIRST)
    conditions: dict[Any, str] = {
        column.caller: wanted.caller,
        column.handler: wanted.handler,
        column.endpoint: wanted.endpoint,
    }
    query = query.where(*(name == value for name, value in conditions.items() if value))
    if wanted.states:
        query = query.where(column.state.in_(sorted(state.value for state in wanted.states)))
    if wanted.before is not None:
        query = query.where(column.position < wanted.before)
    return compile_with_parameters(query)


def listed(rows: Sequence[Row]) -> list[ListedOperation]:
    """Return the operations of a page."""
    stored = map(from_row, rows)
    return [ListedOperation(position=entry.position, operation=entry.operation) for entry in stored]
