"""Every open operation says what it waits for, and no other one does."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.contract.samples import NOW, operation

from isthmus.gateway.core.operation import OPEN, TERMINAL, AttemptEnd, Operation, State
from isthmus.gateway.core.waiting import WaitingCause, waiting_for


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
