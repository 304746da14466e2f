"""Moves tasks that wait in the store to the sessions of one queue, as far as their credits reach.

It runs only while there is a backlog and a free credit. In between it sleeps on one timer: until the next
task becomes ready, or for the safety interval, in case a wake-up was lost.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from isthmus.gateway.commands.lease_tasks import LeasedTask, Offer, lease_passing_tasks, lease_tasks
from isthmus.gateway.commands.passing_tasks import Passed
from isthmus.gateway.core.errors import GatewayError
from isthmus.gateway.core.rotation import Rotation
from isthmus.gateway.dispatch.circuits import Circuits, waits_until
from isthmus.gateway.dispatch.live_session import LiveSession
from isthmus.gateway.dispatch.task_queue import Reservation, TaskQueue
from isthmus.gateway.dispatch.timers import Timer, Timers
from isthmus.gateway.ports import Clock, QueueKey, Store, UnitOfWork

_LOG = logging.getLogger(__name__)
RETRY_AFTER_TROUBLE = timedelta(seconds=1)

Deliver = Callable[[LiveSession, Sequence[LeasedTask], int], None]
"""(session, tasks, credits that were reserved for them)."""


class Pump:
    """The pump of one queue. Lives on the event loop."""

    def __init__(
        self,
        queue: TaskQueue,
        *,
        store: Store,
        clock: Clock,
        timers: Timers,
        deliver: Deliver,
        safety_interval: timedelta,
        rotations: dict[QueueKey, Rotation],
        circuits: Circuits,
    ) -> None:
        """Keep whose turn it is in ``rotations``, which outlive a pump: workers that poll come and go."""
        self._circuits = circuits
        self._queue = queue
        self._store = store
        self._clock = clock
        self._timers = timers
        self._deliver = deliver
        self._safety_interval = safety_interval
        self._rotations = rotations
        self._job: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._due: datetime | None = None
        self._closed = False
        # While tasks are held up: how far the last lease looked, and when to look from the start again.
        self._passed = Passed()
        self._look_again_at: datetime | None = None

    def wake(self) -> None:
        """Run, unless it runs already or there is nothing to move."""
        if self._job is None and self._queue.backlog and not self._closed:
            self._job = asyncio.get_running_loop().create_task(self._run())
            self._job.add_done_callback(self._ended)

    def ready_at(self, when: datetime) -> None:
        """A task of the queue becomes ready at ``when``."""
        if when <= self._clock.now():
            self._queue.note_backlog()
            self.wake()
        else:
            self._arm(when)

    def look_again(self) -> None:
        """Something else may go out now than before."""
        self._passed = Passed()
        self._queue.note_backlog()
        self.wake()

    def close(self) -> None:
        """Stop. A lease that is under way ends by itself, and its tasks are delivered or given back."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    async def _run(self) -> None:
        while self._queue.backlog and not self._closed:
            turn = self._queue.reserve_turn(self._clock.now())
            if not turn:
                return
            seen = self._queue.wakeups
            if await self._lease(turn) or self._queue.wakeups != seen:
                continue
            self._queue.backlog = False
            await self._sleep_until_next()

    async def _lease(self, turn: list[Reservation]) -> bool:
        """Lease for each session and deliver; return whether more tasks may wait."""
        key = self._queue.key
        rotation = self._rotations.get(key, Rotation())
        passed = self._passed_so_far() if self._circuits.is_anything_held_up(key) else None
        opening = frozenset(self._circuits.opening_in(key))

        def command(uow: UnitOfWork) -> tuple[list[tuple[LeasedTask, ...]], Rotation, Passed | None]:
            # Read here, the time is never older than a loss of the session that was committed before.
            now = self._clock.now()
            offers = [_offer(entry, now) for entry in turn]
            if passed is None:
                return *lease_tasks(uow, key, offers=offers, rotation=rotation, now=now), None
            return lease_passing_tasks(
                uow, key, offers=offers, rotation=rotation, passed=passed, opening=opening, now=now
            )

        changes = self._circuits.changes
        try:
            batches, rotation_after, passed_after = await self._store.transact(command)
        except BaseException:
            for entry in turn:
                entry.live.settle(entry.count, used=0)
            raise
        if any(batches):
            self._rotations[key] = rotation_after
        for entry, batch in zip(turn, batches, strict=True):
            self._deliver(entry.live, batch, entry.count)
        if passed_after is not None:
            # What changed meanwhile is not what this lease looked at, but for its own probe.
            self._passed = passed_after if self._circuits.changes == changes else Passed(at=passed_after.at)
            if not passed_after.is_complete:
                return True
        return all(len(batch) == entry.count for entry, batch in zip(turn, batches, strict=True))

    def _passed_so_far(self) -> Passed:
        """Return where to go on looking; from the start when a probe is due, or it is long ago."""
        now = self._clock.now()
        circuits = self._circuits.of_queue(self._queue.key).values()
        is_due = any(circuit.takes_probe(now) for circuit in circuits)
        if is_due or self._look_again_at is None or now >= self._look_again_at:
            self._passed = Passed()
            self._look_again_at = now + self._safety_interval
        return self._passed

    async def _sleep_until_next(self) -> None:
        key = self._queue.key
        circuits = self._circuits.of_queue(key).values()
        # What was ready then and did not go out is held up.
        after = self._passed.at if self._circuits.is_anything_held_up(key) else None
        ready_at = await self._store.read(lambda reader: reader.next_ready_at(key, after=after))
        now = self._clock.now()
        moments = [now + self._safety_interval]
        if ready_at is not None:
            moments.append(ready_at)
        # Not from now on: a circuit whose time came since that lease is due.
        probe_at = waits_until(circuits, after or now)
        if probe_at is not None:
            moments.append(probe_at)
        wake_at = min(moments)
        if wake_at <= now:
            self._queue.note_backlog()
        else:
            self._arm(wake_at)

    def _arm(self, when: datetime) -> None:
        if self._closed or (self._due is not None and self._due <= when):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = when
        self._timer = self._timers.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._due = None
        self._queue.note_backlog()
        self.wake()

    def _ended(self, job: asyncio.Task[None]) -> None:
        self._job = None
        if self._closed or job.cancelled():
            return
        error = job.exception()
        if error is None:
            # Credits or tasks may have come between its last look and its end.
            if self._queue.backlog and self._has_credit():
                self.wake()
            return
        if isinstance(error, GatewayError):
            _LOG.warning("tasks of %s wait: %s", self._queue.key.task_queue, error.message)
        else:
            _LOG.error("tasks of %s could not be leased", self._queue.key.task_queue, exc_info=error)
        self._arm(self._clock.now() + RETRY_AFTER_TROUBLE)

    def _has_credit(self) -> bool:
        return self._queue.free(self._clock.now()) > 0


def _offer(entry: Reservation, now: datetime) -> Offer:
    """Offer nothing to a session whose lease ran out."""
    session = entry.live.session
    return Offer(session=session, count=entry.count if session.expires_at > now else 0)
