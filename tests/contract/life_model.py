"""What an operation should do, told a second time and as simply as possible, to compare the gateway with it.

No commands, effects or tables: one mutable record an operation, one method for each thing that can happen.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from isthmus.gateway.ports import Task

OPEN = frozenset({"scheduled", "dispatched", "started", "parked"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How an endpoint repeats attempts; every delay is as long as it can be."""

    most: int
    parks: bool
    first: timedelta = timedelta(seconds=1)
    longest: timedelta = timedelta(seconds=3)

    def delay(self, spent: int) -> timedelta:
        """Return the wait after so many attempts."""
        return min(self.first * 2.0 ** (spent - 1), self.longest)


@dataclass(slots=True, kw_only=True)
class Life:
    """One operation."""

    retries: Retries
    body: str
    close_by: datetime
    start_by: datetime | None
    run_for: timedelta | None
    ready_at: datetime | None
    state: str = "scheduled"
    attempt: int = 0
    spent: int = 0
    session: int | None = None
    dispatched_at: datetime | None = None
    cancel_requested: bool = False
    outcome: bytes = b""
    statement: str = ""
    late: int = 0
    # The task that calls the handler's cancel: when it is ready, and whose it is.
    cancel_at: datetime | None = None
    cancel_session: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state in OPEN

    def due_at(self) -> datetime:
        """Return when its first timeout elapses."""
        clocks = [self.close_by]
        if self.start_by is not None and self.dispatched_at is None:
            clocks.append(self.start_by)
        if self.run_for is not None and self.dispatched_at is not None:
            clocks.append(self.dispatched_at + self.run_for)
        return min(clocks)

    def lease(self, session: int, now: datetime) -> None:
        """A worker session takes it."""
        assert self.state == "scheduled"
        assert self.ready_at is not None
        assert self.ready_at <= now
        self.state, self.session, self.ready_at = "dispatched", session, None
        self.attempt += 1
        self.spent += 1
        self.dispatched_at = self.dispatched_at or now

    def end(self, state: str, *, outcome: bytes = b"", statement: str = "") -> None:
        """It has ended, for good."""
        assert self.is_open
        self.state, self.outcome, self.statement = state, outcome, statement
        self.session = self.ready_at = self.cancel_at = self.cancel_session = None

    def lose_attempt(self, now: datetime, *, failure: bytes = b"") -> None:
        """The attempt under way ended without an outcome."""
        assert self.state == "dispatched"
        self.session = None
        if self.cancel_requested:
            self.end("canceled", statement="canceled")
        elif self.spent < self.retries.most:
            self.state, self.ready_at = "scheduled", now + self.retries.delay(self.spent)
        elif self.retries.parks:
            self.state = "parked"
        elif failure:
            self.end("failed", outcome=failure)
        else:
            self.end("failed", statement="exhausted")

    def give_back(self, now: datetime) -> None:
        """The worker did not run it."""
        self.session = None
        if self.cancel_requested:
            self.end("canceled", statement="canceled")
        else:
            self.state, self.ready_at = "scheduled", now
            self.spent -= 1

    def finish_later(self, now: datetime) -> None:
        """The handler says that it finishes later."""
        if self.state == "started":
            return
        self.state, self.session, self.ready_at = "started", None, None
        if self.cancel_requested:
            self.cancel_at = now

    def cancel(self, now: datetime) -> None:
        """The caller wants it to end."""
        if not self.is_open or self.cancel_requested:
            return
        self.cancel_requested = True
        if self.state in {"scheduled", "parked"}:
            self.end("canceled", statement="canceled")
        elif self.state == "started":
            self.cancel_at = now

    def redrive(self, now: datetime) -> None:
        """The owner of the endpoint gives it new attempts."""
        if self.state == "parked":
            self.state, self.ready_at, self.spent = "scheduled", now, 0

    @property
    def was_redriven(self) -> bool:
        """Whether fewer attempts count than were made."""
        return self.spent != self.attempt


@dataclass(slots=True, kw_only=True)
class Sessions:
    """Worker sessions, and until when each one lives."""

    expires_at: dict[int, datetime] = field(default_factory=dict)


def digest(*parts: object) -> bytes:
    """Return 32 bytes that only these parts give."""
    return hashlib.sha256(repr(parts).encode()).digest()


def where(task: Task | None) -> tuple[object, object]:
    """Return when a task is ready, or the session that has it."""
    if task is None:
        return None, None
    return (task.ready_at, None) if task.session_id is None else (None, task.session_id[0])


def expected(ready_at: object, session_number: int | None) -> tuple[object, object]:
    """Return the same for what the model says."""
    return (None, session_number) if session_number is not None else (ready_at, None)
