"""Why an operation is not finished: one cause, since when, until when, and one sentence for people."""

from datetime import datetime
from enum import Enum
from typing import assert_never

from isthmus.endpoints.versions import Target
from isthmus.gateway.core.circuit import EVERYBODY, Circuit
from isthmus.gateway.core.operation import KEY_UNAVAILABLE, AttemptEnd, Operation, State
from isthmus.gateway.core.value import Value

ANY = Target()


class WaitingCause(Enum):
    """What an open operation waits for."""

    NO_POLLER = "no_poller"
    BACKOFF = "backoff"
    REJECTED = "rejected"
    KEY_UNAVAILABLE = "key_unavailable"
    RUNNING = "running"
    HANDLER_ASYNC = "handler_async"
    APPROVAL = "approval"
    REVIEW = "review"
    PARKED = "parked"
    FAIR_SHARE = "fair_share"
    CIRCUIT_OPEN = "circuit_open"
    START_AT = "start_at"


class Side(Enum):
    """Who asks: the two sides of an operation can do different things about the same cause."""

    CALLER = "caller"
    HANDLER = "handler"


class Runner(Value):
    """The worker that runs an operation, and when it loses it unless it is heard of before."""

    worker: str
    lease_expires_at: datetime


class Waiting(Value):
    """The cause, since when it lasts, when it ends at the latest, and a sentence on what would end it."""

    cause: WaitingCause
    since: datetime
    until: datetime
    reason: str


_CAUSES = {
    State.DISPATCHED: WaitingCause.RUNNING,
    State.STARTED: WaitingCause.HANDLER_ASYNC,
    State.HELD: WaitingCause.APPROVAL,
    State.REVIEW: WaitingCause.REVIEW,
    State.PARKED: WaitingCause.PARKED,
}
"""What an operation waits for in these states, whatever else there is."""


def waiting_for(
    operation: Operation,
    *,
    pollers: int,
    now: datetime,
    runner: Runner | None = None,
    side: Side = Side.CALLER,
    circuit: Circuit | None = None,
    target: Target = ANY,
) -> Waiting | None:
    """Return the one cause, or None for an operation that has ended.

    Args:
        operation: the operation.
        pollers: how many worker sessions are connected to its task queue, of those that may get it.
        now: the time.
        runner: the worker that has it, if one does and its session is known.
        side: for whom the sentence is.
        circuit: the open circuit that its next attempt has to wait for.
        target: which versions of workers may get it.
    """
    if operation.state.is_terminal:
        return None
    is_delayed = operation.next_attempt_at is not None and operation.next_attempt_at > now
    if circuit is not None and is_delayed and (operation.next_attempt_at or now) >= circuit.until:
        # Its own time comes later.
        circuit = None
    cause = waiting_cause(
        operation.state,
        is_delayed=is_delayed,
        last_attempt_end=operation.last_attempt_end,
        is_key_missing=operation.last_attempt_error == KEY_UNAVAILABLE,
        pollers=pollers,
        is_held_up=circuit is not None,
    )
    since, until = operation.state_since, operation.next_timeout[1]
    if operation.state is State.SCHEDULED and operation.next_attempt_at is not None:
        if operation.next_attempt_at > now:
            until = min(operation.next_attempt_at, until)
        else:
            since = operation.next_attempt_at
    if circuit is not None and cause is WaitingCause.CIRCUIT_OPEN:
        since = max(circuit.since, operation.scheduled_at)
        until = operation.next_timeout[1]
        if circuit.until > now:
            until = min(circuit.until, until)
    reason = _reason(operation, cause, side, pollers, runner, circuit, target, now)
    return Waiting(cause=cause, since=since, until=until, reason=reason)


def waiting_cause(
    state: State,
    *,
    is_delayed: bool,
    last_attempt_end: AttemptEnd | None,
    pollers: int,
    is_key_missing: bool = False,
    is_held_up: bool = False,
) -> WaitingCause:
    """Return the one cause of an open operation.

    Args:
        state: its state.
        is_delayed: whether its next attempt has its time, and that lies ahead.
        last_attempt_end: how its last attempt ended, if it ended without an outcome.
        pollers: how many worker sessions are connected to its task queue.
        is_key_missing: whether its last attempt, if it was rejected, was rejected for want of a key.
        is_held_up: whether a circuit is open that its next attempt has to wait for.
    """
    if state in _CAUSES:
        return _CAUSES[state]
    if not pollers and not is_delayed:
        return WaitingCause.NO_POLLER
    if is_held_up:
        return WaitingCause.CIRCUIT_OPEN
    if is_delayed and last_attempt_end is None:
        # Only a caller can delay the first attempt.
        return WaitingCause.START_AT
    if is_delayed and last_attempt_end is AttemptEnd.REJECTED:
        return WaitingCause.KEY_UNAVAILABLE if is_key_missing else WaitingCause.REJECTED
    if is_delayed:
        return WaitingCause.BACKOFF
    return WaitingCause.FAIR_SHARE


def _reason(  # noqa: C901, PLR0911, PLR0917 - what waiting_for was told, a sentence for each cause
    operation: Operation,
    cause: WaitingCause,
    side: Side,
    pollers: int,
    runner: Runner | None,
    circuit: Circuit | None,
    target: Target,
    now: datetime,
) -> str:
    handler, mine = operation.handler, side is Side.HANDLER
    deadline = f"it times out at {_time(operation.next_timeout[1])}"
    match cause:
        case WaitingCause.NO_POLLER:
            advice = "start one" if mine else f"{handler} has to start one"
            return f"no worker{_of_version(target)} polls {_queue(operation)}: {advice}, or {deadline}"
        case WaitingCause.FAIR_SHARE:
            version = _of_version(target)
            workers = f"1 worker{version} polls" if pollers == 1 else f"{pollers} workers{version} poll"
            advice = "start another worker" if mine else f"ask {handler} for more workers"
            return (
                f"{workers} {_queue(operation)} and it is in line for the next free slot: "
                f"{advice} if that takes too long, {deadline}"
            )
        case WaitingCause.START_AT:
            advice = f"{operation.key.caller} can cancel it before"
            return f"its caller wants it to start at {_time(operation.next_attempt_at or now)}: {advice}"
        case WaitingCause.BACKOFF:
            advice = "mend what makes it fail" if mine else f"ask {handler} if that goes on"
            return f"{_last_attempt(operation)}; the next one is {_next(operation)}: {advice}"
        case WaitingCause.REJECTED:
            other = operation.key.caller if mine else handler
            return (
                f"{_last_attempt(operation)}; the next one is {_next(operation)}: compare pins and keys "
                f"with {other} (isthmus trust list, isthmus keys show)"
            )
        case WaitingCause.KEY_UNAVAILABLE:
            return (
                f"{_last_attempt(operation)}; the next one is {_next(operation)}: {handler} needs the "
                f"private key that it was sealed for, and a current keyset of {operation.key.caller} "
                f"(isthmus keys show, isthmus keys publish)"
            )
        case WaitingCause.RUNNING:
            return f"{_running(operation, runner)}; {deadline}"
        case WaitingCause.HANDLER_ASYNC:
            advice = "complete it" if mine else f"{handler} completes it"
            asked = " and was asked to cancel it" if operation.cancel_requested else ""
            return f"the handler accepted it{asked}: {advice}, or {deadline}"
        case WaitingCause.APPROVAL:
            return f"an approver has to permit the request, or {deadline}"
        case WaitingCause.REVIEW:
            return f"its outcome has to be released, or {deadline}"
        case WaitingCause.PARKED:
            advice = "redrive it when that is mended" if mine else f"ask {handler} to redrive it"
            return (
                f"its {_attempts(operation)} used up, {_last_attempt(operation)}: "
                f"{advice} (the owner of endpoint {operation.endpoint} can), or {deadline}"
            )
        case WaitingCause.CIRCUIT_OPEN:
            held_up = "a circuit is open" if circuit is None else _held_up(operation, circuit, now)
            advice = "mend what makes them fail" if mine else f"ask {handler} if that goes on"
            return f"{held_up}: {advice}, or {deadline}"
        case _:
            assert_never(cause)


def _held_up(operation: Operation, circuit: Circuit, now: datetime) -> str:
    everybody = circuit.line.caller == EVERYBODY
    whose = "attempts of every caller" if everybody else f"attempts of {circuit.line.caller}"
    failed = f"{whose} at endpoint {operation.endpoint} failed in a row, the last one by {circuit.error}"
    if circuit.probe is not None:
        return f"{failed}; one is on its way, and its answer ends that"
    when = f"at {_time(circuit.until)}" if circuit.until > now else "to the next free slot"
    return f"{failed}; one goes out {when}, and its answer ends that"


def _of_version(target: Target) -> str:
    if target.version:
        return f" of version {target.version}"
    if target.others:
        return f" of a version other than {', '.join(sorted(target.others))}"
    return ""


def _queue(operation: Operation) -> str:
    return f"task queue {operation.task_queue} of namespace {operation.handler}"


def _attempts(operation: Operation) -> str:
    spent = operation.attempts_spent
    return "1 attempt is" if spent == 1 else f"{spent} attempts are"


def _last_attempt(operation: Operation) -> str:
    attempt, error = operation.attempt, operation.last_attempt_error
    match operation.last_attempt_end:
        case AttemptEnd.REJECTED if error == KEY_UNAVAILABLE:
            return f"a worker of {operation.handler} lacked a key and rejected attempt {attempt} ({error})"
        case AttemptEnd.REJECTED:
            return (
                f"attempt {attempt} was rejected by a worker of {operation.handler}, "
                f"which could not open or verify the request ({error})"
            )
        case AttemptEnd.LEASE_LOST:
            return f"attempt {attempt} was lost with its worker ({error})"
        case AttemptEnd.FAILED | None:
            return f"attempt {attempt} failed ({error})"
        case _:
            assert_never(operation.last_attempt_end)


def _running(operation: Operation, runner: Runner | None) -> str:
    name = f"worker {runner.worker}" if runner is not None and runner.worker else "a worker"
    asked = " and was asked to cancel it" if operation.cancel_requested else ""
    heard = operation.last_heartbeat_at
    lives = "" if heard is None else f" (last heartbeat {_time(heard)})"
    running = f"{name} runs attempt {operation.attempt}{lives}{asked}: its answer ends that"
    if runner is None:
        return running
    return f"{running}, or silence until {_time(runner.lease_expires_at)}, when the next attempt follows"


def _next(operation: Operation) -> str:
    return f"at {_time(operation.next_attempt_at or operation.state_since)}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
