"""Every open operation says what it waits for, and no other one does."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.contract.samples import NOW, operation

from isthmus.endpoints.versions import Target
from isthmus.gateway.core.circuit import Circuit, Line
from isthmus.gateway.core.operation import OPEN, TERMINAL, AttemptEnd, Operation, State
from isthmus.gateway.core.waiting import Runner, Side, WaitingCause, waiting_for


def in_state(state: State) -> Operation:
    """Return an operation in a state."""
    return replace(operation(), state=state)


@pytest.mark.parametrize("state", [state for state in State if state in OPEN])
def test_exactly_one_cause_is_named_when_operation_is_open(state: State) -> None:
    """Never stuck in silence: a cause, since when, and a sentence."""
    waiting = waiting_for(in_state(state), pollers=0, now=NOW)
    assert waiting is not None
    assert waiting.since == NOW
    assert waiting.reason


@pytest.mark.parametrize("state", [state for state in State if state in TERMINAL])
def test_nothing_is_awaited_when_operation_has_ended(state: State) -> None:
    """An operation that has ended waits for nothing."""
    assert waiting_for(in_state(state), pollers=1, now=NOW) is None


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        (AttemptEnd.FAILED, WaitingCause.BACKOFF),
        (AttemptEnd.LEASE_LOST, WaitingCause.BACKOFF),
        (AttemptEnd.REJECTED, WaitingCause.REJECTED),
    ],
)
def test_last_attempt_is_the_cause_when_backing_off(end: AttemptEnd, cause: WaitingCause) -> None:
    """Until its next attempt may go out, and not a moment longer."""
    until = NOW + timedelta(seconds=8)
    backing_off = replace(operation(), next_attempt_at=until, last_attempt_end=end, last_attempt_error="WHY")
    waiting = waiting_for(backing_off, pollers=1, now=until - timedelta(microseconds=1))
    assert waiting is not None
    assert waiting.cause is cause
    assert "WHY" in waiting.reason
    after = waiting_for(backing_off, pollers=1, now=until)
    assert after is not None
    assert (after.cause, after.since) == (WaitingCause.FAIR_SHARE, until)


def test_key_is_the_cause_when_a_worker_lacked_one() -> None:
    """Another thing to do than about a request that does not verify."""
    until = NOW + timedelta(seconds=8)
    lacking = replace(
        operation(),
        next_attempt_at=until,
        last_attempt_end=AttemptEnd.REJECTED,
        last_attempt_error="KEY_UNAVAILABLE",
    )
    waiting = waiting_for(lacking, pollers=1, now=NOW)
    assert waiting is not None
    assert waiting.cause is WaitingCause.KEY_UNAVAILABLE
    assert "lacked a key" in waiting.reason
    # A handler that failed with that very word is no worker that lacked a key.
    failed = replace(lacking, last_attempt_end=AttemptEnd.FAILED)
    waiting = waiting_for(failed, pollers=1, now=NOW)
    assert waiting is not None
    assert waiting.cause is WaitingCause.BACKOFF


@pytest.mark.parametrize("pollers", [0, 1])
def test_caller_is_the_cause_when_it_put_the_start_off(pollers: int) -> None:
    """Until the moment that it named, whoever polls; from then on it waits like any other."""
    until = NOW + timedelta(hours=1)
    put_off = replace(operation(), next_attempt_at=until)
    waiting = waiting_for(put_off, pollers=pollers, now=until - timedelta(microseconds=1))
    assert waiting is not None
    assert (waiting.cause, waiting.since, waiting.until) == (WaitingCause.START_AT, NOW, until)
    assert "13:30:45" in waiting.reason
    after = waiting_for(put_off, pollers=1, now=until)
    assert after is not None
    assert (after.cause, after.since) == (WaitingCause.FAIR_SHARE, until)


@pytest.mark.parametrize(
    ("pollers", "cause", "words"),
    [
        (0, WaitingCause.NO_POLLER, "start one"),
        (1, WaitingCause.FAIR_SHARE, "1 worker polls"),
        (3, WaitingCause.FAIR_SHARE, "3 workers poll"),
    ],
)
def test_pollers_decide_the_cause_when_scheduled(pollers: int, cause: WaitingCause, words: str) -> None:
    """Nobody polls, or all who poll are busy: different people have to act."""
    waiting = waiting_for(in_state(State.SCHEDULED), pollers=pollers, now=NOW)
    assert waiting is not None
    assert waiting.cause is cause
    assert words in waiting.reason


@pytest.mark.parametrize("state", [State.DISPATCHED, State.STARTED])
def test_cancel_is_mentioned_when_it_was_requested(state: State) -> None:
    """The handler was asked, and decides."""
    waiting = waiting_for(replace(in_state(state), cancel_requested=True), pollers=1, now=NOW)
    assert waiting is not None
    assert "cancel" in waiting.reason


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("state", [state for state in State if state in OPEN])
def test_sentence_says_until_when_for_each_side_when_operation_is_open(state: State, side: Side) -> None:
    """One line without a full stop of its own, and the moment at which the waiting ends by itself."""
    waiting = waiting_for(in_state(state), pollers=0, now=NOW, side=side)
    assert waiting is not None
    assert waiting.until == NOW + timedelta(hours=24)
    assert "it times out at 2030-05-18 12:30:45 UTC" in waiting.reason
    assert waiting.reason.isprintable()
    assert not waiting.reason.endswith(".")


@pytest.mark.parametrize(
    ("state", "to_caller", "to_handler"),
    [
        (State.SCHEDULED, "billing has to start one", "start one"),
        (State.STARTED, "billing completes it", "complete it"),
        (State.PARKED, "ask billing to redrive it", "redrive it when that is mended"),
    ],
)
def test_advice_is_for_who_asks_when_the_sides_can_do_different_things(
    state: State, to_caller: str, to_handler: str
) -> None:
    """The caller cannot start the handler's worker; it can ask."""
    sentences = {
        side: waiting_for(in_state(state), pollers=0, now=NOW, side=side)
        for side in (Side.CALLER, Side.HANDLER)
    }
    caller, handler = sentences[Side.CALLER], sentences[Side.HANDLER]
    assert caller is not None
    assert handler is not None
    assert to_caller in caller.reason
    assert f": {to_handler}" in handler.reason


def test_worker_and_its_lease_are_named_when_it_runs() -> None:
    """Who has it, in which attempt, and when it counts as lost."""
    runner = Runner(worker="w-1@host", lease_expires_at=NOW + timedelta(seconds=30))
    running = replace(in_state(State.DISPATCHED), attempt=3)
    waiting = waiting_for(running, pollers=1, now=NOW, runner=runner)
    assert waiting is not None
    assert "worker w-1@host runs attempt 3" in waiting.reason
    assert "silence until 2030-05-17 12:31:15 UTC" in waiting.reason


def test_next_attempt_is_when_it_ends_when_backing_off() -> None:
    """Not the timeout that comes later."""
    until = NOW + timedelta(seconds=8)
    waiting = waiting_for(replace(operation(), next_attempt_at=until), pollers=1, now=NOW)
    assert waiting is not None
    assert waiting.until == until


def test_last_heartbeat_is_said_when_the_handler_sends_some() -> None:
    """Whether a slow handler lives, or hangs in a worker that does."""
    running = replace(in_state(State.DISPATCHED), attempt=2, heartbeat_at=NOW + timedelta(seconds=3))
    waiting = waiting_for(running, pollers=1, now=NOW + timedelta(seconds=9))
    assert waiting is not None
    assert "runs attempt 2 (last heartbeat 2030-05-17 12:30:48 UTC)" in waiting.reason
    silent = waiting_for(in_state(State.DISPATCHED), pollers=1, now=NOW)
    assert silent is not None
    assert "heartbeat" not in silent.reason


@pytest.mark.parametrize(
    ("target", "pollers", "words"),
    [
        (Target(version="v2"), 0, "no worker of version v2 polls"),
        (Target(version="v2"), 2, "2 workers of version v2 poll"),
        (Target(others=frozenset({"v2", "v3"})), 0, "no worker of a version other than v2, v3 polls"),
    ],
)
def test_version_is_named_when_an_operation_is_for_one(target: Target, pollers: int, words: str) -> None:
    """Other workers may be connected: that is not what is missing."""
    waiting = waiting_for(operation(), pollers=pollers, now=NOW, target=target)
    assert waiting is not None
    assert words in waiting.reason


def test_circuit_is_the_cause_until_the_later_of_two_times() -> None:
    """Backoff is what ends last, or the circuit is; without a worker neither helps."""
    circuit = Circuit(
        line=Line(endpoint="invoices", task_queue="default", caller="data"),
        handler="billing",
        since=NOW,
        until=NOW + timedelta(seconds=30),
        error="UNAVAILABLE",
    )
    for seconds, cause in ((29, WaitingCause.CIRCUIT_OPEN), (30, WaitingCause.BACKOFF)):
        delayed = replace(
            operation(),
            next_attempt_at=NOW + timedelta(seconds=seconds),
            last_attempt_end=AttemptEnd.FAILED,
        )
        waiting = waiting_for(delayed, pollers=1, now=NOW, circuit=circuit)
        assert waiting is not None
        assert (waiting.cause, waiting.until) == (cause, NOW + timedelta(seconds=30))
    without = waiting_for(operation(), pollers=0, now=NOW, circuit=circuit)
    assert without is not None
    assert without.cause is WaitingCause.NO_POLLER
