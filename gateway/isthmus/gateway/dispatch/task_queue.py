"""The connected sessions of one task queue, served in turn, and whether older tasks wait in the store."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from isthmus.gateway.dispatch.live_session import LiveSession
from isthmus.gateway.ports import QueueKey

MAX_TASKS_PER_TURN = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Credits of one session, set aside."""

    live: LiveSession
    count: int


class TaskQueue:
    """Sessions in rotation. Changed on the event loop only."""

    def __init__(self, key: QueueKey) -> None:
        self.key = key
        # Until the store was asked, tasks may wait: they go out first.
        self.backlog = True
        self.wakeups = 0
        # Whether tasks wait that could not go out to the workers that had a slot: one that has one later may.
        self.passes_by = False
        self._sessions: deque[LiveSession] = deque()

    def __len__(self) -> int:
        """How many sessions are connected."""
        return len(self._sessions)

    def add(self, live: LiveSession) -> None:
        """Add a session at the end of the line."""
        self._sessions.append(live)

    def discard(self, live: LiveSession) -> None:
        """Remove a session, if it is there."""
        if live in self._sessions:
            self._sessions.remove(live)

    def note_backlog(self) -> None:
        """A task waits in the store."""
        self.backlog = True
        self.wakeups += 1

    def free(self, now: datetime) -> int:
        """How many tasks all its sessions can take now."""
        return sum(live.free(now) for live in self._sessions)

    def versions(self) -> Counter[str]:
        """Return how many sessions of each version are connected."""
        return Counter(live.session.version for live in self._sessions)

    def reserve_one(self, now: datetime, takes: Callable[[str], bool] | None = None) -> LiveSession | None:
        """Reserve a credit of the next session for a new task; None while older tasks wait.

        With ``takes`` only a session whose version it takes will do.
        """
        if self.backlog or self.passes_by:
            return None
        for _ in range(len(self._sessions)):
            live = self._sessions[0]
            self._sessions.rotate(-1)
            if live.free(now) > 0 and (takes is None or takes(live.session.version)):
                live.reserve(1)
                return live
        return None

    def reserve_turn(self, now: datetime) -> list[Reservation]:
        """Reserve up to MAX_TASKS_PER_TURN credits of each session, the next one in line first."""
        reserved = []
        for live in self._sessions:
            count = min(live.free(now), MAX_TASKS_PER_TURN)
            if count > 0:
                live.reserve(count)
                reserved.append(Reservation(live=live, count=count))
        self._sessions.rotate(-1)
        return reserved
