"""What can happen to an operation. Each event is plain data; what it does is in ``machine``."""

from datetime import timedelta

from isthmus.gateway.core.operation import AttemptEnd, Timeout
from isthmus.gateway.core.retry import RetryPolicy
from isthmus.gateway.core.value import Value
from isthmus.wire.header import Direction


class Approved(Value):
    """An approver permitted a held request."""


class ApprovalDenied(Value):
    """An approver denied a held request."""


class Leased(Value):
    """A worker session takes the task; with a ``version`` the operation belongs to that from now on."""

    session_id: bytes
    version: str = ""


class AttemptEnded(Value):
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


class TaskReturned(Value):
    """A worker that shuts down gives a task back unrun; it does not count as an attempt spent."""

    attempt: int


class HeartbeatReceived(Value):
    """The attempt that runs says that it lives."""

    attempt: int


class AsyncStarted(Value):
    """The handler returned an operation token and finishes later."""


class OutcomeReceived(Value):
    """The handler's namespace sealed and signed an outcome, from whichever attempt or process."""

    direction: Direction
    digest: bytes
    outcome_bytes: int
    held: bool = False


class OutcomeReleased(Value):
    """A held outcome was released."""


class OutcomeWithheld(Value):
    """A held outcome was withheld for good."""


class CancelRequested(Value):
    """The caller's namespace signed a cancel."""


class SignalReceived(Value):
    """The caller's namespace sealed a signal of so many bytes."""

    signal_bytes: int


class TimeoutElapsed(Value):
    """One of the operation's clocks ran out."""

    timeout: Timeout


class Redriven(Value):
    """The endpoint's owner gives a parked operation new attempts."""


class Terminated(Value):
    """The endpoint's owner or the platform ends the operation by force, for a reason."""

    reason: str = ""


Event = (
    Approved
    | ApprovalDenied
    | Leased
    | AttemptEnded
    | TaskReturned
    | HeartbeatReceived
    | AsyncStarted
    | OutcomeReceived
    | OutcomeReleased
    | OutcomeWithheld
    | CancelRequested
    | SignalReceived
    | TimeoutElapsed
    | Redriven
    | Terminated
)
