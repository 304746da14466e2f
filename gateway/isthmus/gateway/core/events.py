"""What can happen to an operation. Each event is plain data; what it does is in ``machine``."""

from dataclasses import dataclass
from datetime import timedelta

from isthmus.gateway.core.operation import AttemptEnd, Timeout
from isthmus.gateway.core.retry import RetryPolicy
from isthmus.wire.header import Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """An approver permitted a held request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDenied:
    """An approver denied a held request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """A worker session takes the task."""

    session_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded:
    """An attempt ended without an outcome; another one may make sense.

    ``jitter`` is drawn by the caller from [0, 1): the machine has no randomness. With a ``failure_digest``
    the handler sealed why; if that was the last attempt, this failure is the outcome.
    """

    attempt: int
    end: AttemptEnd
    error: str
    policy: RetryPolicy
    jitter: float
    min_delay: timedelta = timedelta(0)
    failure_digest: bytes = b""
    failure_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReturned:
    """A worker that shuts down gives a task back unrun; it does not count as an attempt spent."""

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncStarted:
    """The handler returned an operation token and finishes later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeReceived:
    """The handler's namespace sealed and signed an outcome, from whichever attempt or process."""

    direction: Direction
    digest: bytes
    outcome_bytes: int
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeReleased:
    """A held outcome was released."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeWithheld:
    """A held outcome was withheld for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """The caller's namespace signed a cancel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutElapsed:
    """One of the operation's clocks ran out."""

    timeout: Timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """The endpoint's owner gives a parked operation new attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminated:
    """The endpoint's owner or the platform ends the operation by force."""


Event = (
    Approved
    | ApprovalDenied
    | Leased
    | AttemptEnded
    | TaskReturned
    | AsyncStarted
    | OutcomeReceived
    | OutcomeReleased
    | OutcomeWithheld
    | CancelRequested
    | TimeoutElapsed
    | Redriven
    | Terminated
)
