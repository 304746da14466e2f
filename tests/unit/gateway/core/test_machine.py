"""The state machine of operations: its table, its effects, and that nothing else is possible."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from isthmus.gateway.core import machine
from isthmus.gateway.core.effects import (
    CloseOperation,
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
from isthmus.gateway.core.operation import (
    TERMINAL,
    AttemptEnd,
    Operation,
    OperationKey,
    State,
    Statement,
    Timeout,
)
from isthmus.gateway.core.retry import RetryPolicy
from isthmus.wire.header import Direction
from isthmus.wire.names import EndpointName, NamespaceName, OperationId

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SESSION = b"s" * 16


def make_operation(state: State, **changes: object) -> Operation:
    """An operation in a state, with the facts that this state implies."""
    dispatched = state not in {State.HELD, State.SCHEDULED, State.DENIED}
    facts: dict[str, object] = {
        "attempt": int(dispatched),
        "attempts_spent": int(dispatched),
        "first_dispatched_at": T0 if dispatched else None,
        "session_id": SESSION if state is State.DISPATCHED else None,
        "outcome": Direction.RESULT if state in {State.REVIEW, State.SUCCEEDED} else None,
    }
    base = Operation(
        key=OperationKey(caller=NamespaceName("data-team"), operation_id=OperationId(b"o" * 16)),
        handler=NamespaceName("app-team"),
        endpoint=EndpointName("payments"),
        service="Payments",
        operation="charge",
        task_queue="payments",
        principal="data-team/etl",
        request_digest=b"d" * 32,
        request_bytes=100,
        scheduled_at=T0,
        schedule_to_close_at=T0 + timedelta(hours=1),
        state=state,
        state_since=T0,
    )
    return replace(base, **{**facts, **changes})


def failed(attempt: int = 1, **changes: object) -> AttemptEnded:
    """An attempt that failed, under the default policy."""
    event = AttemptEnded(
        attempt=attempt, end=AttemptEnd.FAILED, error="INTERNAL", policy=RetryPolicy(), jitter=0.0
    )
    return replace(event, **changes)


RESULT = OutcomeReceived(direction=Direction.RESULT, digest=b"r" * 32, outcome_bytes=10)
LATE = T0 + timedelta(hours=2)
EVENTS: dict[type[Event], Event] = {
    type(event): event
    for event in (
        Approved(),
        ApprovalDenied(),
        Leased(session_id=SESSION),
        failed(),
        TaskReturned(attempt=1),
        HeartbeatReceived(attempt=1),
        SignalReceived(signal_bytes=7),
        AsyncStarted(),
        RESULT,
        OutcomeReleased(),
        OutcomeWithheld(),
        CancelRequested(),
        TimeoutElapsed(timeout=Timeout.SCHEDULE_TO_CLOSE),
        Redriven(),
        Terminated(),
    )
}

# What the design's diagram says, written a second time and independently of the machine's own table.
LEGAL: dict[State, dict[type[Event], State]] = {
    State.HELD: {
        SignalReceived: State.HELD,
        Approved: State.SCHEDULED,
        ApprovalDenied: State.DENIED,
        CancelRequested: State.CANCELED,
    },
    State.SCHEDULED: {
        SignalReceived: State.SCHEDULED,
        Leased: State.DISPATCHED,
        AsyncStarted: State.STARTED,
        OutcomeReceived: State.SUCCEEDED,
        CancelRequested: State.CANCELED,
    },
    State.DISPATCHED: {
        SignalReceived: State.DISPATCHED,
        AttemptEnded: State.SCHEDULED,
        TaskReturned: State.SCHEDULED,
        HeartbeatReceived: State.DISPATCHED,
        AsyncStarted: State.STARTED,
        OutcomeReceived: State.SUCCEEDED,
        CancelRequested: State.DISPATCHED,
    },
    State.STARTED: {
        SignalReceived: State.STARTED,
        AsyncStarted: State.STARTED,
        OutcomeReceived: State.SUCCEEDED,
        CancelRequested: State.STARTED,
    },
    State.PARKED: {
        SignalReceived: State.PARKED,
        AsyncStarted: State.STARTED,
        OutcomeReceived: State.SUCCEEDED,
        CancelRequested: State.CANCELED,
        Redriven: State.SCHEDULED,
    },
    State.REVIEW: {
        OutcomeReleased: State.SUCCEEDED,
        OutcomeWithheld: State.DENIED,
        CancelRequested: State.REVIEW,
    },
    **{state: {CancelRequested: state} for state in TERMINAL},
}
for _state in State:
    if _state not in TERMINAL:
        LEGAL[_state] |= {TimeoutElapsed: State.TIMED_OUT, Terminated: State.FAILED}

ROWS = [(state, event) for state in State for event in EVENTS]


@pytest.mark.parametrize(
    ("state", "event"), ROWS, ids=lambda value: value.name if isinstance(value, State) else value.__name__
)
def test_state_after_event_is_what_the_design_says(state: State, event: type[Event]) -> None:
    """Every pair of state and event either moves as designed or is refused and changes nothing."""
    operation = make_operation(state)
    before = replace(operation)
    expected = LEGAL[state].get(event)
    if expected is None:
        with pytest.raises(IllegalEventError):
            machine.apply(operation, EVENTS[event], LATE)
    else:
        after, _ = machine.apply(operation, EVENTS[event], LATE)
        assert after.state is expected
    assert operation == before


def test_every_event_has_an_example() -> None:
    """An event that is added to the machine must be added to these tests."""
    assert set(EVENTS) == set(Event.__args__)


@pytest.mark.parametrize(
    ("direction", "state"),
    [
        (Direction.RESULT, State.SUCCEEDED),
        (Direction.FAILURE, State.FAILED),
        (Direction.CANCELED, State.CANCELED),
    ],
)
def test_outcome_closes_when_its_direction_ends_operations(direction: Direction, state: State) -> None:
    """Result, failure and canceled end an operation, and record what ended it."""
    event = replace(RESULT, direction=direction)
    after, effects = machine.apply(make_operation(State.DISPATCHED), event, T0)
    assert (after.state, after.outcome, after.outcome_digest) == (state, direction, RESULT.digest)
    assert (after.closed_at, after.session_id, after.statement) == (T0, None, None)
    assert effects == (RemoveTasks(), CloseOperation())


@pytest.mark.parametrize("direction", sorted(set(Direction) - {2, 3, 4, 5} | {Direction.STARTED}))
def test_outcome_is_refused_when_its_direction_ends_nothing(direction: Direction) -> None:
    """A request, a signal or a token is no outcome."""
    with pytest.raises(IllegalEventError):
        machine.apply(make_operation(State.DISPATCHED), replace(RESULT, direction=direction), T0)


def test_outcome_waits_in_review_when_it_is_held() -> None:
    """A held outcome is kept but ends nothing until it is released."""
    held, effects = machine.apply(make_operation(State.STARTED), replace(RESULT, held=True), T0)
    assert (held.state, effects) == (State.REVIEW, (RemoveTasks(),))
    released, effects = machine.apply(held, OutcomeReleased(), T0)
    assert (released.state, effects[-1]) == (State.SUCCEEDED, CloseOperation())


def test_operation_is_born_leased_when_a_session_was_reserved() -> None:
    """A start that found a poller is committed once, already leased to it."""
    operation, effects = machine.start(make_operation(State.SCHEDULED), leased=Leased(session_id=SESSION))
    assert (operation.state, operation.attempt, operation.session_id) == (State.DISPATCHED, 1, SESSION)
    assert operation.first_dispatched_at == operation.scheduled_at
    assert effects == (LeaseTask(session_id=SESSION),)


def test_operation_waits_when_no_session_was_reserved() -> None:
    """Without a poller the task waits in the queue; a held operation has no task at all."""
    assert machine.start(make_operation(State.SCHEDULED))[1] == (EnqueueTask(ready_at=T0),)
    assert machine.start(make_operation(State.HELD), leased=Leased(session_id=SESSION))[1] == ()


@pytest.mark.parametrize("state", [state for state in State if state not in {State.HELD, State.SCHEDULED}])
def test_operation_is_not_born_when_its_life_has_begun(state: State) -> None:
    """Only held and scheduled operations begin."""
    with pytest.raises(IllegalEventError):
        machine.start(make_operation(state))


def test_attempt_is_repeated_later_when_it_failed() -> None:
    """Backoff doubles with every attempt spent."""
    operation = make_operation(State.DISPATCHED, attempt=3, attempts_spent=3)
    after, effects = machine.apply(operation, failed(3), T0)
    assert after.next_attempt_at == T0 + timedelta(seconds=4)
    assert (after.session_id, after.last_attempt_error) == (None, "INTERNAL")
    assert effects == (EnqueueTask(ready_at=T0 + timedelta(seconds=4)),)


def test_attempt_is_repeated_no_earlier_when_the_handler_asked_for_a_delay() -> None:
    """The handler's own delay wins over a shorter backoff."""
    after, _ = machine.apply(make_operation(State.DISPATCHED), failed(min_delay=timedelta(minutes=1)), T0)
    assert after.next_attempt_at == T0 + timedelta(minutes=1)


def test_event_is_refused_when_its_attempt_is_over() -> None:
    """A worker that lost its lease cannot end somebody else's attempt."""
    operation = make_operation(State.DISPATCHED, attempt=2)
    for event in (failed(1), TaskReturned(attempt=1), HeartbeatReceived(attempt=1)):
        with pytest.raises(IllegalEventError):
            machine.apply(operation, event, T0)


def test_operation_is_parked_when_its_attempts_are_used_up() -> None:
    """The default keeps the operation for its owner; redriving gives it new attempts."""
    policy = RetryPolicy(max_attempts=1)
    parked, effects = machine.apply(make_operation(State.DISPATCHED), failed(policy=policy), T0)
    assert (parked.state, effects) == (State.PARKED, (RemoveTasks(),))
    redriven, effects = machine.apply(parked, Redriven(), T0)
    assert (redriven.state, redriven.attempts_spent, redriven.attempt) == (State.SCHEDULED, 0, 1)
    assert effects == (EnqueueTask(ready_at=T0),)


def test_last_failure_is_the_outcome_when_exhausted_operations_end() -> None:
    """If the handler sealed why, that is attested; if nobody did, the gateway says so itself."""
    policy = RetryPolicy(max_attempts=1, park_when_exhausted=False)
    sealed = failed(policy=policy, failure_digest=b"f" * 32, failure_bytes=5)
    attested, _ = machine.apply(make_operation(State.DISPATCHED), sealed, T0)
    assert (attested.state, attested.outcome, attested.statement) == (State.FAILED, Direction.FAILURE, None)
    unsealed, _ = machine.apply(make_operation(State.DISPATCHED), failed(policy=policy), T0)
    assert (unsealed.state, unsealed.outcome, unsealed.statement) == (State.FAILED, None, Statement.EXHAUSTED)


def test_returned_task_is_not_counted_when_it_did_not_run() -> None:
    """A worker that shuts down does not spend an attempt."""
    after, effects = machine.apply(make_operation(State.DISPATCHED), TaskReturned(attempt=1), T0)
    assert (after.attempts_spent, after.attempt) == (0, 1)
    assert effects == (EnqueueTask(ready_at=T0),)


def test_cancel_interrupts_when_the_handler_runs() -> None:
    """The handler decides how a canceled run ends; asking twice interrupts once."""
    operation = make_operation(State.DISPATCHED)
    once, effects = machine.apply(operation, CancelRequested(), T0)
    assert effects == (InterruptTask(session_id=SESSION, attempt=1),)
    twice, effects = machine.apply(once, CancelRequested(), T0)
    assert (twice, effects) == (once, ())


def test_cancel_task_waits_when_the_handler_is_asynchronous() -> None:
    """A started operation is canceled through the handler's cancel, once."""
    once, effects = machine.apply(make_operation(State.STARTED), CancelRequested(), T0)
    assert effects == (EnqueueCancelTask(),)
    assert machine.apply(once, CancelRequested(), T0) == (once, ())


def test_cancel_follows_when_the_handler_goes_asynchronous_after_it() -> None:
    """A cancel that came while the handler started is delivered once it has a token."""
    operation = make_operation(State.DISPATCHED, cancel_requested=True)
    _, effects = machine.apply(operation, AsyncStarted(), T0)
    assert effects == (RemoveTasks(), EnqueueCancelTask())


@pytest.mark.parametrize("event", [failed(), TaskReturned(attempt=1)], ids=["failed", "returned"])
def test_canceled_operation_ends_when_its_attempt_brings_no_outcome(event: Event) -> None:
    """What was canceled is not run again."""
    operation = make_operation(State.DISPATCHED, cancel_requested=True)
    after, effects = machine.apply(operation, event, T0)
    assert (after.state, after.statement) == (State.CANCELED, Statement.CANCELED)
    assert effects == (RemoveTasks(), CloseOperation())


@pytest.mark.parametrize("event", [Terminated(), TimeoutElapsed(timeout=Timeout.SCHEDULE_TO_CLOSE)])
def test_running_attempt_is_interrupted_when_the_gateway_ends_the_operation(event: Event) -> None:
    """Nobody waits for the work any more."""
    _, effects = machine.apply(make_operation(State.DISPATCHED), event, LATE)
    assert effects == (RemoveTasks(), InterruptTask(session_id=SESSION, attempt=1), CloseOperation())


@pytest.mark.parametrize("state", [state for state in State if not state.is_terminal])
def test_reason_goes_with_the_ending_when_an_operation_is_terminated(state: State) -> None:
    """Whoever ends it by force says why, for the record."""
    after, effects = machine.apply(make_operation(state), Terminated(reason="a wrong batch"), T0)
    assert (after.state, after.statement) == (State.FAILED, Statement.TERMINATED)
    assert effects[-1] == CloseOperation(reason="a wrong batch")


@pytest.mark.parametrize(
    ("changes", "timeout", "due"),
    [
        ({}, Timeout.SCHEDULE_TO_CLOSE, T0 + timedelta(hours=1)),
        (
            {"first_dispatched_at": None, "schedule_to_start_at": T0 + timedelta(seconds=5)},
            Timeout.SCHEDULE_TO_START,
            T0 + timedelta(seconds=5),
        ),
        ({"start_to_close_timeout": timedelta(seconds=9)}, Timeout.START_TO_CLOSE, T0 + timedelta(seconds=9)),
    ],
)
def test_timeout_is_refused_when_it_is_early(
    changes: dict[str, object], timeout: Timeout, due: datetime
) -> None:
    """A clock never runs out before its time, and does at its time."""
    operation = make_operation(State.DISPATCHED, **changes)
    assert operation.next_timeout == (timeout, due)
    with pytest.raises(IllegalEventError):
        machine.apply(operation, TimeoutElapsed(timeout=timeout), due - timedelta(microseconds=1))
    after, _ = machine.apply(operation, TimeoutElapsed(timeout=timeout), due)
    assert after.statement is not None
    assert after.statement.value == f"timed_out_{timeout.value}"


def test_schedule_to_start_stops_when_the_operation_was_dispatched() -> None:
    """The first dispatch stops that clock for good, even when the lease is lost."""
    operation = make_operation(State.DISPATCHED, schedule_to_start_at=T0)
    waiting, _ = machine.apply(operation, failed(), T0)
    with pytest.raises(IllegalEventError):
        machine.apply(waiting, TimeoutElapsed(timeout=Timeout.SCHEDULE_TO_START), LATE)


def test_last_heartbeat_is_that_of_the_attempt_that_runs_when_there_were_others() -> None:
    """A heartbeat changes no clock; the next attempt has none until it sends one itself."""
    running = make_operation(State.DISPATCHED)
    heard_at = T0 + timedelta(seconds=5)
    heard, effects = machine.apply(running, HeartbeatReceived(attempt=running.attempt), heard_at)
    assert effects == ()
    assert (running.last_heartbeat_at, heard.last_heartbeat_at) == (None, heard_at)
    assert (heard.timeouts, heard.state_since) == (running.timeouts, running.state_since)
    waiting, _ = machine.apply(heard, failed(), heard_at)
    again, _ = machine.apply(waiting, Leased(session_id=SESSION), heard_at + timedelta(seconds=1))
    assert again.heartbeat_at == heard_at
    assert again.last_heartbeat_at is None


def test_signals_are_handed_over_when_the_handler_finishes_later() -> None:
    """One by one while it is started; those of before from the first, as soon as it is."""
    signal = SignalReceived(signal_bytes=7)
    running, effects = machine.apply(make_operation(State.DISPATCHED), signal, T0)
    assert (running.signals, running.signal_bytes, effects) == (1, 7, ())
    started, effects = machine.apply(running, AsyncStarted(), T0)
    assert effects == (RemoveTasks(), EnqueueSignalTask(number=1))
    again, effects = machine.apply(started, signal, T0)
    assert (again.signals, again.signal_bytes) == (2, 14)
    assert effects == (EnqueueSignalTask(number=2),)
    _, effects = machine.apply(make_operation(State.DISPATCHED), AsyncStarted(), T0)
    assert effects == (RemoveTasks(),)


# --- any order of events ---

events = st.sampled_from(sorted(EVENTS, key=lambda cls: cls.__name__)).flatmap(
    lambda cls: st.builds(_for_attempt, st.just(EVENTS[cls]), st.integers(0, 4))
)


def _for_attempt(event: Event, attempt: int) -> Event:
    if isinstance(event, AttemptEnded | TaskReturned | HeartbeatReceived):
        return replace(event, attempt=attempt)
    return event


@given(history=st.lists(st.tuples(events, st.integers(0, 5000)), max_size=30), held=st.booleans())
def test_invariants_hold_when_events_come_in_any_order(history: list[tuple[Event, int]], held: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever arrives: one end, never changed; a session exactly while dispatched; counters in bounds."""
    operation, _ = machine.start(make_operation(State.HELD if held else State.SCHEDULED))
    now = T0
    closes = 0
    for event, seconds in history:
        now += timedelta(seconds=seconds)
        before = operation
        try:
            operation, effects = machine.apply(operation, event, now)
        except IllegalEventError:
            assert operation is before
            continue
        if before.state.is_terminal:
            assert operation == before
            assert effects == ()
        closes += sum(isinstance(effect, CloseOperation) for effect in effects)
        assert operation.state.is_terminal == (operation.closed_at is not None) == (closes == 1)
        assert (operation.session_id is not None) == (operation.state is State.DISPATCHED)
        assert 0 <= operation.attempts_spent <= operation.attempt
        assert (operation.next_attempt_at is None) or operation.state is State.SCHEDULED
        if operation.state.is_terminal:
            assert (operation.outcome is None) != (operation.statement is None) or operation.statement


@given(spent=st.integers(0, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_delay_stays_in_bounds_when_attempts_grow(spent: int, jitter: float) -> None:
    """Backoff is positive, capped, and never overflows."""
    policy = RetryPolicy()
    assert timedelta(milliseconds=800) <= policy.delay(spent, jitter) <= policy.max_interval
