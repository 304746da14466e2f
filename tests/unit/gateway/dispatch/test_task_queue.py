"""Credits and turns of the sessions of one queue."""

from collections.abc import Sequence
from datetime import timedelta

from tests.contract.samples import NOW, QUEUE, session

from isthmus.gateway.commands.lease_tasks import LeasedTask
from isthmus.gateway.dispatch.live_session import MAX_UNSENT_BYTES, LiveSession
from isthmus.gateway.dispatch.task_queue import MAX_TASKS_PER_TURN, TaskQueue
from isthmus.gateway.ports import TaskInterrupted


class NullOutlet:
    """Takes everything and goes nowhere."""

    def deliver(self, tasks: Sequence[LeasedTask]) -> None:
        """Take tasks."""

    def interrupt(self, interrupt: TaskInterrupted) -> None:
        """Take an interrupt."""

    def close(self) -> None:
        """Take the end."""


def live(number: int, credit: int) -> LiveSession:
    """Return a connected session with credits."""
    made = LiveSession(session(bytes([number]) * 16), NullOutlet())
    made.credits = credit
    return made


def queue_of(*sessions: LiveSession, backlog: bool = False) -> TaskQueue:
    """Return a queue with these sessions."""
    queue = TaskQueue(QUEUE)
    queue.backlog = backlog
    for entry in sessions:
        queue.add(entry)
    return queue


def test_sessions_are_served_in_turn_when_all_have_credits() -> None:
    """Round robin, skipping who has none left."""
    first, second, third = live(1, 2), live(2, 0), live(3, 1)
    queue = queue_of(first, second, third)
    assert [queue.reserve_one(NOW) for _ in range(4)] == [first, third, first, None]


def test_nothing_is_reserved_when_older_tasks_wait() -> None:
    """A new start never overtakes what waits in the store."""
    assert queue_of(live(1, 1), backlog=True).reserve_one(NOW) is None


def test_session_takes_nothing_when_draining_closed_or_expired() -> None:
    """Whoever leaves, left, or was not heard of gets no task."""
    draining, closed, expired, paying_back = live(1, 1), live(2, 1), live(3, 1), live(4, -1)
    draining.draining = True
    closed.closed = True
    assert queue_of(draining, closed, paying_back).reserve_one(NOW) is None
    queue = queue_of(expired)
    expires_at = expired.session.expires_at
    assert queue.reserve_one(expires_at) is None
    assert queue.reserve_one(expires_at - timedelta(microseconds=1)) is expired


def test_session_takes_nothing_when_it_leaves_too_much_unread() -> None:
    """Credits count tasks, and tasks may be large."""
    full, slow = live(1, 1), live(2, 1)
    full.unsent_bytes, slow.unsent_bytes = MAX_UNSENT_BYTES + 1, MAX_UNSENT_BYTES
    queue = queue_of(full, slow)
    assert [entry.live for entry in queue.reserve_turn(NOW)] == [slow]
    assert queue.reserve_one(NOW) is None
    full.unsent_bytes = 0
    assert queue.reserve_one(NOW) is full


def test_credits_come_back_when_reservation_was_not_used() -> None:
    """What was reserved and not leased is free again."""
    entry = live(1, 5)
    queue = queue_of(entry)
    (reserved,) = queue.reserve_turn(NOW)
    assert (reserved.count, entry.credits, entry.reserved) == (5, 0, 5)
    entry.settle(5, used=2)
    assert (entry.credits, entry.reserved) == (3, 0)


def test_turn_is_bounded_when_session_has_many_credits() -> None:
    """One session does not take the whole backlog before the others had a turn."""
    greedy, modest = live(1, 10_000), live(2, 1)
    queue = queue_of(greedy, modest)
    assert [entry.count for entry in queue.reserve_turn(NOW)] == [MAX_TASKS_PER_TURN, 1]
    assert [entry.live for entry in queue.reserve_turn(NOW)] == [greedy]


def test_settling_is_announced_when_nothing_is_under_way() -> None:
    """A poll is answered once nothing more can arrive for it."""
    settled = []
    entry = LiveSession(session(), NullOutlet(), on_settled=lambda: settled.append(True))
    entry.credits = 2
    entry.reserve(1)
    entry.reserve(1)
    entry.settle(1, used=1)
    assert not settled
    entry.settle(1, used=0)
    assert settled == [True]
