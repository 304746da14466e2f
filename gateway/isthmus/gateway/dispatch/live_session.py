"""A worker session that is connected to this process, and the credits that it granted."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from isthmus.gateway.commands.lease_tasks import LeasedTask
from isthmus.gateway.ports import TaskInterrupted, WorkerSession

# Of tasks that a session's reader has not taken yet. What is being leased meanwhile comes on top.
MAX_UNSENT_BYTES = 64 * 1024 * 1024


class Outlet(Protocol):
    """Where what a session gets goes: a stream or a poll. Neither call waits."""

    def deliver(self, tasks: Sequence[LeasedTask]) -> None:
        """Send tasks; each used up a credit."""
        ...

    def interrupt(self, interrupt: TaskInterrupted) -> None:
        """Ask the worker to stop an attempt."""
        ...

    def close(self) -> None:
        """End the connection: the session is lost, or came back on another one."""
        ...


class LiveSession:
    """Counts what a connected session can take. Changed on the event loop only."""

    __slots__ = (
        "_on_settled",
        "closed",
        "credits",
        "draining",
        "outlet",
        "reserved",
        "session",
        "unsent_bytes",
    )

    def __init__(
        self, session: WorkerSession, outlet: Outlet, *, on_settled: Callable[[], None] | None = None
    ) -> None:
        """Call ``on_settled`` whenever nothing is on its way to the session any more."""
        self.session = session
        self.outlet = outlet
        self.credits = 0
        self.reserved = 0
        self.unsent_bytes = 0
        self.draining = False
        self.closed = False
        self._on_settled = on_settled

    @property
    def leaves_too_much_unread(self) -> bool:
        """Whether it is to read before it gets more."""
        return self.unsent_bytes > MAX_UNSENT_BYTES

    def free(self, now: datetime) -> int:
        """How many tasks it can take now.

        A session whose lease ran out takes none until it is renewed, one that does not read what it got
        none until it does: credits count tasks, and tasks may be large.
        """
        if self.closed or self.draining or self.leaves_too_much_unread or self.session.expires_at <= now:
            return 0
        return max(0, self.credits)

    def reserve(self, count: int) -> None:
        """Set credits aside for tasks that are about to be leased."""
        self.credits -= count
        self.reserved += count

    def settle(self, count: int, *, used: int) -> None:
        """Conclude a reservation of which some credits were used up; the others are free again."""
        self.credits += count - used
        self.reserved -= count
        if self.reserved == 0 and self._on_settled is not None:
            self._on_settled()
