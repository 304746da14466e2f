"""Why an operation is not finished: exactly one cause, since when, and one sentence for people."""

from datetime import datetime
from enum import Enum

from isthmus.gateway.core.operation import AttemptEnd, Operation, State
from isthmus.gateway.core.value import Value


class WaitingCause(Enum):
    """What an open operation waits for."""

    NO_POLLER = "no_poller"
    BACKOFF = "backoff"
    REJECTED = "rejected"
    RUNNING = "running"
    HANDLER_ASYNC = "handler_async"
    APPROVAL = "approval"
    REVIEW = "review"
    PARKED = "parked"
    FAIR_SHARE = "fair_share"


class Waiting(Value):
    """The cause, since when it lasts, and what would end it."""

    cause: WaitingCause
    since: datetime
    reason: str


def waiting_for(operation: Operation, *, pollers: int, now: datetime) -> Waiting | None:
    """Return the one cause, or None for an operation that has ended.

    ``pollers`` is how many worker sessions are connected to the operation's task queue.
    """
    match operation.state:
        case State.SCHEDULED:
            return _scheduled(operation, pollers, now)
        case State.DISPATCHED:
            return _because(
                operation, WaitingCause.RUNNING, f"a worker runs attempt {operation.attempt}", canceling=True
            )
        case State.STARTED:
            reason = "the handler accepted it and completes it later"
            return _because(operation, WaitingCause.HANDLER_ASYNC, reason, canceling=True)
        case State.HELD:
            return _because(operation, WaitingCause.APPROVAL, "an approver has to permit the request")
        case State.REVIEW:
            return _because(operation, WaitingCause.REVIEW, "its outcome has to be released")
        case State.PARKED:
            reason = (
                f"its {operation.attempts_spent} attempts are used up ({operation.last_attempt_error}); "
                f"the owner of endpoint {operation.endpoint} can redrive it"
            )
            return _because(operation, WaitingCause.PARKED, reason)
        case _:
            return None


def _scheduled(operation: Operation, pollers: int, now: datetime) -> Waiting:
    queue = f"task queue {operation.task_queue} of namespace {operation.handler}"
    if operation.next_attempt_at is not None and operation.next_attempt_at > now:
        return _backoff(operation, operation.next_attempt_at)
    since = operation.next_attempt_at or operation.state_since
    if pollers == 0:
        reason = f"no worker polls {queue}: start one"
        return Waiting(cause=WaitingCause.NO_POLLER, since=since, reason=reason)
    workers = "1 worker polls" if pollers == 1 else f"{pollers} workers poll"
    reason = f"{workers} {queue}: it is in line for the next free slot"
    return Waiting(cause=WaitingCause.FAIR_SHARE, since=since, reason=reason)


def _backoff(operation: Operation, until: datetime) -> Waiting:
    at = f"{until:%Y-%m-%d %H:%M:%S} UTC"
    error = operation.last_attempt_error
    if operation.last_attempt_end is AttemptEnd.REJECTED:
        reason = f"the worker could not open or verify the request ({error}); the next attempt is at {at}"
        return _because(operation, WaitingCause.REJECTED, reason)
    reason = f"attempt {operation.attempt} ended without an outcome ({error}); the next one is at {at}"
    return _because(operation, WaitingCause.BACKOFF, reason)


def _because(operation: Operation, cause: WaitingCause, reason: str, *, canceling: bool = False) -> Waiting:
    if canceling and operation.cancel_requested:
        reason += ", and was asked to cancel it"
    return Waiting(cause=cause, since=operation.state_since, reason=reason)
