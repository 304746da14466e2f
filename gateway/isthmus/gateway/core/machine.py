"""The life of an operation, as one pure state machine.

``start`` makes an operation; ``apply(operation, event, now)`` returns the operation after the event and the
effects
that must be committed with it. No clock, no I/O, no randomness. A pair of state and event that the table
does not list is illegal: it raises IllegalEventError and changes nothing. The first terminal state is final.

``` text
            approve               lease                 async start
 HELD ───────────────▶ SCHEDULED ────────▶ DISPATCHED ───────────────▶ STARTED
   │ deny                ▲   │ attempt failed    │  │ outcome              │ completion
   │                     └───┴───────────────────┘  ▼                      ▼
   │        PARKED ◀── attempts exhausted        REVIEW (held outcome) ── release ─▶ SUCCEEDED
   │          │ redrive ▲──────────────▶ SCHEDULED      │ withhold
   └──────────┴────────────────▶ DENIED · SUCCEEDED · FAILED · CANCELED · TIMED_OUT   (terminal)
```
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from isthmus.gateway.core.effects import (
    CloseOperation,
    Effect,
    Effects,
    EnqueueCancelTask,
    EnqueueSignalTask,
    EnqueueTask,
    InterruptTask,
    LeaseTask,
    RemoveTasks,
)
from isthmus.gateway.core.errors import IllegalEventError
from isthmus.gateway.core.events import (
    ApprovalDenied,
    Approved,
    AsyncStarted,
    AttemptEnded,
    CancelRequested,
    Event,
    HeartbeatReceived,
    Leased,
    OutcomeReceived,
    OutcomeReleased,
    OutcomeWithheld,
    Redriven,
    SignalReceived,
    TaskReturned,
    Terminated,
    TimeoutElapsed,
)
from isthmus.gateway.core.operation import OPEN, TERMINAL, Operation, State, Statement, Timeout
from isthmus.wire.header import OUTCOMES, Direction

Step = tuple[Operation, Effects]


def start(operation: Operation, *, leased: Leased | None = None) -> Step:
    """Begin the life of an operation that is HELD or SCHEDULED.

    With ``leased`` a scheduled operation is born leased: one commit instead of two. One whose first attempt
    has its time waits for that.
    """
    match operation.state:
        case State.HELD:
            return operation, ()
        case State.SCHEDULED if leased is not None:
            return _lease(operation, leased, operation.scheduled_at)
        case State.SCHEDULED:
            return operation, (EnqueueTask(ready_at=operation.next_attempt_at or operation.scheduled_at),)
        case _:
            msg = f"an operation is not born {operation.state.value}"
            raise IllegalEventError(msg)


def apply(operation: Operation, event: Event, now: datetime) -> Step:
    """Return the operation after the event, and what must be committed with it.

    Raises:
        IllegalEventError: the table has no row for this state and event, the event is about an attempt that
        is over, or a timeout came early.
    """
    transition = _TABLE.get((operation.state, type(event)))
    if transition is None:
        msg = f"{type(event).__name__} is not possible while the operation is {operation.state.value}"
        raise IllegalEventError(msg)
    return transition(operation, event, now)


def _move(operation: Operation, state: State, now: datetime, **changes: object) -> Operation:
    return replace(operation, state=state, state_since=now, **changes)


def _close(
    operation: Operation,
    state: State,
    now: datetime,
    statement: Statement | None = None,
    reason: str = "",
    /,
    **changes: object,
) -> Step:
    effects: list[Effect] = [RemoveTasks()]
    if operation.state is State.DISPATCHED and statement is not None and operation.session_id is not None:
        effects.append(InterruptTask(session_id=operation.session_id, attempt=operation.attempt))
    effects.append(CloseOperation(reason=reason))
    closed = _move(
        operation,
        state,
        now,
        closed_at=now,
        session_id=None,
        next_attempt_at=None,
        statement=statement,
        **changes,
    )
    return closed, tuple(effects)


def _approve(operation: Operation, _event: Approved, now: datetime) -> Step:
    return _move(operation, State.SCHEDULED, now), (EnqueueTask(ready_at=now),)


def _deny(operation: Operation, _event: ApprovalDenied | OutcomeWithheld, now: datetime) -> Step:
    return _close(operation, State.DENIED, now, Statement.DENIED)


def _lease(operation: Operation, event: Leased, now: datetime) -> Step:
    leased = _move(
        operation,
        State.DISPATCHED,
        now,
        session_id=event.session_id,
        attempt=operation.attempt + 1,
        attempts_spent=operation.attempts_spent + 1,
        next_attempt_at=None,
        version=event.version or operation.version,
        first_dispatched_at=operation.first_dispatched_at or now,
    )
    return leased, (LeaseTask(session_id=event.session_id),)


def _check_attempt(operation: Operation, attempt: int) -> None:
    if attempt != operation.attempt:
        msg = f"attempt {attempt} is over; the current one is {operation.attempt}"
        raise IllegalEventError(msg)


def _end_attempt(operation: Operation, event: AttemptEnded, now: datetime) -> Step:
    _check_attempt(operation, event.attempt)
    ended = replace(operation, session_id=None, last_attempt_end=event.end, last_attempt_error=event.error)
    if operation.cancel_requested:
        return _close(ended, State.CANCELED, now, Statement.CANCELED)
    if event.policy.is_exhausted(operation.attempts_spent):
        if event.policy.park_when_exhausted:
            return _move(ended, State.PARKED, now), (RemoveTasks(),)
        if event.failure_digest:
            attested = replace(
                ended,
                outcome=Direction.FAILURE,
                outcome_digest=event.failure_digest,
                outcome_bytes=event.failure_bytes,
            )
            return _close(attested, State.FAILED, now)
        return _close(ended, State.FAILED, now, Statement.EXHAUSTED)
    delay = max(event.policy.delay(operation.attempts_spent, event.jitter), event.min_delay)
    ready_at = now + delay
    return _move(ended, State.SCHEDULED, now, next_attempt_at=ready_at), (EnqueueTask(ready_at=ready_at),)


def _return_task(operation: Operation, event: TaskReturned, now: datetime) -> Step:
    _check_attempt(operation, event.attempt)
    if operation.cancel_requested:
        return _close(replace(operation, session_id=None), State.CANCELED, now, Statement.CANCELED)
    returned = _move(
        operation, State.SCHEDULED, now, session_id=None, attempts_spent=operation.attempts_spent - 1
    )
    return returned, (EnqueueTask(ready_at=now),)


def _note_heartbeat(operation: Operation, event: HeartbeatReceived, now: datetime) -> Step:
    _check_attempt(operation, event.attempt)
    return replace(operation, heartbeat_at=now), ()


def _start_async(operation: Operation, _event: AsyncStarted, now: datetime) -> Step:
    effects: tuple[Effect, ...] = (RemoveTasks(),)
    if operation.cancel_requested:
        effects += (EnqueueCancelTask(),)
    if operation.signals:
        # All of them, from the first: whether the start took note of some, nobody else knows.
        effects += (EnqueueSignalTask(number=1),)
    return _move(operation, State.STARTED, now, session_id=None, next_attempt_at=None), effects


def _ignore(operation: Operation, _event: Event, _now: datetime) -> Step:
    return operation, ()


_CLOSED_BY = {
    Direction.RESULT: State.SUCCEEDED,
    Direction.FAILURE: State.FAILED,
    Direction.CANCELED: State.CANCELED,
}


def _take_outcome(operation: Operation, event: OutcomeReceived, now: datetime) -> Step:
    if event.direction not in OUTCOMES:
        msg = f"{event.direction.name} is not an outcome"
        raise IllegalEventError(msg)
    # One copy instead of two: copying is the most that the state machine costs.
    changes = {
        "outcome": event.direction,
        "outcome_digest": event.digest,
        "outcome_bytes": event.outcome_bytes,
    }
    if event.held:
        held = _move(operation, State.REVIEW, now, session_id=None, next_attempt_at=None, **changes)
        return held, (RemoveTasks(),)
    return _close(operation, _CLOSED_BY[event.direction], now, **changes)


def _release(operation: Operation, _event: OutcomeReleased, now: datetime) -> Step:
    if operation.outcome is None:
        msg = "there is no outcome to release"
        raise IllegalEventError(msg)
    return _close(operation, _CLOSED_BY[operation.outcome], now)


def _cancel_now(operation: Operation, _event: CancelRequested, now: datetime) -> Step:
    return _close(replace(operation, cancel_requested=True), State.CANCELED, now, Statement.CANCELED)


def _cancel_running(operation: Operation, _event: CancelRequested, _now: datetime) -> Step:
    if operation.cancel_requested or operation.session_id is None:
        return replace(operation, cancel_requested=True), ()
    interrupt = InterruptTask(session_id=operation.session_id, attempt=operation.attempt)
    return replace(operation, cancel_requested=True), (interrupt,)


def _cancel_started(operation: Operation, _event: CancelRequested, _now: datetime) -> Step:
    effects = () if operation.cancel_requested else (EnqueueCancelTask(),)
    return replace(operation, cancel_requested=True), effects


def _take_signal(operation: Operation, event: SignalReceived, _now: datetime) -> Step:
    number, sealed_bytes = operation.signals + 1, operation.signal_bytes + event.signal_bytes
    after = replace(operation, signals=number, signal_bytes=sealed_bytes)
    # A running handler reads its signals; one that finishes later is called.
    return after, (EnqueueSignalTask(number=number),) if operation.state is State.STARTED else ()


def _cancel_in_review(operation: Operation, _event: CancelRequested, _now: datetime) -> Step:
    return replace(operation, cancel_requested=True), ()


_TIMED_OUT = {
    Timeout.SCHEDULE_TO_START: Statement.TIMED_OUT_SCHEDULE_TO_START,
    Timeout.START_TO_CLOSE: Statement.TIMED_OUT_START_TO_CLOSE,
    Timeout.SCHEDULE_TO_CLOSE: Statement.TIMED_OUT_SCHEDULE_TO_CLOSE,
}


def _time_out(operation: Operation, event: TimeoutElapsed, now: datetime) -> Step:
    due = dict(operation.timeouts).get(event.timeout)
    if due is None or now < due:
        msg = f"{event.timeout.value} has not elapsed"
        raise IllegalEventError(msg)
    return _close(operation, State.TIMED_OUT, now, _TIMED_OUT[event.timeout])


def _redrive(operation: Operation, _event: Redriven, now: datetime) -> Step:
    # New attempts are for whoever mended it: not only for the version that failed.
    redriven = _move(operation, State.SCHEDULED, now, attempts_spent=0, version="")
    return redriven, (EnqueueTask(ready_at=now),)


def _terminate(operation: Operation, event: Terminated, now: datetime) -> Step:
    return _close(operation, State.FAILED, now, Statement.TERMINATED, event.reason)


# Each row's function takes its own event type, which a mapping's type cannot say.
Transition = Callable[[Operation, Any, datetime], Step]

_SIGNALED = (State.HELD, State.SCHEDULED, State.DISPATCHED, State.STARTED, State.PARKED)
_RUNNABLE = (State.SCHEDULED, State.DISPATCHED, State.STARTED, State.PARKED)

# What is not listed is illegal. Timeout, terminate and cancel may meet an operation in any open state. An
# outcome may come from an attempt whose lease was lost, and a completion before the start that it completes.
_TABLE: Mapping[tuple[State, type[Event]], Transition] = {
    (State.HELD, Approved): _approve,
    (State.HELD, ApprovalDenied): _deny,
    (State.SCHEDULED, Leased): _lease,
    (State.DISPATCHED, AttemptEnded): _end_attempt,
    (State.DISPATCHED, TaskReturned): _return_task,
    (State.DISPATCHED, HeartbeatReceived): _note_heartbeat,
    (State.SCHEDULED, AsyncStarted): _start_async,
    (State.DISPATCHED, AsyncStarted): _start_async,
    (State.PARKED, AsyncStarted): _start_async,
    (State.STARTED, AsyncStarted): _ignore,
    **{(state, OutcomeReceived): _take_outcome for state in _RUNNABLE},
    (State.REVIEW, OutcomeReleased): _release,
    (State.REVIEW, OutcomeWithheld): _deny,
    (State.HELD, CancelRequested): _cancel_now,
    (State.SCHEDULED, CancelRequested): _cancel_now,
    (State.PARKED, CancelRequested): _cancel_now,
    (State.DISPATCHED, CancelRequested): _cancel_running,
    (State.STARTED, CancelRequested): _cancel_started,
    (State.REVIEW, CancelRequested): _cancel_in_review,
    **{(state, CancelRequested): _ignore for state in TERMINAL},
    **{(state, SignalReceived): _take_signal for state in _SIGNALED},
    (State.PARKED, Redriven): _redrive,
    **{(state, TimeoutElapsed): _time_out for state in OPEN},
    **{(state, Terminated): _terminate for state in OPEN},
}
