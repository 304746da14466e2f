"""What an operation is: its states, its clocks, and everything that the gateway knows of it."""

from datetime import datetime, timedelta
from enum import Enum

from isthmus.gateway.core.value import Value
from isthmus.wire.header import Direction
from isthmus.wire.names import EndpointName, NamespaceName, OperationId


class State(Enum):
    """Where an operation is in its life."""

    HELD = "held"
    SCHEDULED = "scheduled"
    DISPATCHED = "dispatched"
    STARTED = "started"
    PARKED = "parked"
    REVIEW = "review"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    TIMED_OUT = "timed_out"
    DENIED = "denied"

    # Members are singletons; Enum's own hash is a Python function, and these are looked up often.
    __hash__ = object.__hash__

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can happen to the operation any more."""
        return self in TERMINAL


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELED, State.TIMED_OUT, State.DENIED})
OPEN = frozenset(State) - TERMINAL


class Timeout(Enum):
    """Which of an operation's three clocks."""

    SCHEDULE_TO_START = "schedule_to_start"
    START_TO_CLOSE = "start_to_close"
    SCHEDULE_TO_CLOSE = "schedule_to_close"


class Statement(Enum):
    """Why the gateway itself ended an operation."""

    DENIED = "denied"
    CANCELED = "canceled"
    TIMED_OUT_SCHEDULE_TO_START = "timed_out_schedule_to_start"
    TIMED_OUT_START_TO_CLOSE = "timed_out_start_to_close"
    TIMED_OUT_SCHEDULE_TO_CLOSE = "timed_out_schedule_to_close"
    TERMINATED = "terminated"
    EXHAUSTED = "exhausted"


KEY_UNAVAILABLE = "KEY_UNAVAILABLE"
"""The error of a rejected attempt whose worker lacked a key."""


class AttemptEnd(Enum):
    """Why an attempt ended without an outcome."""

    FAILED = "failed"
    REJECTED = "rejected"
    LEASE_LOST = "lease_lost"


class OperationKey(Value):
    """What identifies an operation: ids are unique within the namespace that made them."""

    caller: NamespaceName
    operation_id: OperationId


class Operation(Value):
    """Everything that the gateway knows of an operation but its envelopes."""

    key: OperationKey
    handler: NamespaceName
    endpoint: EndpointName
    service: str
    operation: str
    task_queue: str
    principal: str
    request_digest: bytes
    request_bytes: int
    scheduled_at: datetime
    schedule_to_close_at: datetime
    state: State
    state_since: datetime

    # What it was born with, too, if its caller asked for it.
    fingerprint: bytes = b""
    schedule_to_start_at: datetime | None = None
    start_to_close_timeout: timedelta | None = None

    attempt: int = 0
    attempts_spent: int = 0
    session_id: bytes | None = None
    first_dispatched_at: datetime | None = None
    next_attempt_at: datetime | None = None
    last_attempt_end: AttemptEnd | None = None
    last_attempt_error: str = ""
    cancel_requested: bool = False
    heartbeat_at: datetime | None = None
    # Of the workers that began it, if its endpoint pins operations to versions.
    version: str = ""
    signals: int = 0
    signal_bytes: int = 0
    closed_at: datetime | None = None
    outcome: Direction | None = None
    outcome_digest: bytes = b""
    outcome_bytes: int = 0
    statement: Statement | None = None

    @property
    def start_to_close_at(self) -> datetime | None:
        """When START_TO_CLOSE elapses; None before the first dispatch or without that timeout."""
        if self.start_to_close_timeout is None or self.first_dispatched_at is None:
            return None
        return self.first_dispatched_at + self.start_to_close_timeout

    @property
    def last_heartbeat_at(self) -> datetime | None:
        """When the attempt that runs last said that it lives; None when none runs, or it never did."""
        if self.state is not State.DISPATCHED or self.heartbeat_at is None:
            return None
        return self.heartbeat_at if self.heartbeat_at >= self.state_since else None

    @property
    def timeouts(self) -> tuple[tuple[Timeout, datetime], ...]:
        """The clocks that run, and when each elapses."""
        clocks = [(Timeout.SCHEDULE_TO_CLOSE, self.schedule_to_close_at)]
        if self.schedule_to_start_at is not None and self.first_dispatched_at is None:
            clocks.append((Timeout.SCHEDULE_TO_START, self.schedule_to_start_at))
        if self.start_to_close_at is not None:
            clocks.append((Timeout.START_TO_CLOSE, self.start_to_close_at))
        return tuple(clocks)

    @property
    def next_timeout(self) -> tuple[Timeout, datetime]:
        """The clock that elapses first."""
        return min(self.timeouts, key=lambda clock: clock[1])
