"""Moves tasks that wait in the store to the sessions of one queue, as far as their credits reach.

It runs only while there is a backlog and a free credit. In between it sleeps on one timer: until the next
task becomes ready, or for the safety interval, in case a wake-up was lost.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from isthmus.gateway.commands.lease_tasks import LeasedTask, Offer, lease_passing_tasks, lease_tasks
from isthmus.gateway.commands.passing_tasks import Passed
from isthmus.gateway.core.errors import GatewayError, InDoubtError
from isthmus.gateway.core.rotation import Rotation
from isthmus.gateway.dispatch.circuits import Circuits, waits_until
from isthmus.gateway.dispatch.live_session import LiveSession
from isthmus.gateway.dispatch.routes import Routes
from isthmus.gateway.dispatch.task_queue import Reservation, TaskQueue
from isthmus.gateway.dispatch.timers import Timer, Timers
from isthmus.gateway.ports import Clock, Command, QueueKey, Store, UnitOfWork

T = TypeVar("T")
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
        routes: Routes,
        reconnect: Callable[[bytes], None],
        before: asyncio.Task[None] | None = None,
    ) -> None:
        """Keep whose turn it is in ``rotations``, which outlive a pump: workers that poll come and go.

        Sessions to which something may have been leased, and nobody knows, have to ``reconnect``.
        What the pump that was there ``before`` has under way is waited for: it says whose turn it is then.
        """
        self._before = before
        self._circuits = circuits
        self._routes = routes
        self._queue = queue
        self._store = store
        self._clock = clock
        self._timers = timers
        self._deliver = deliver
        self._reconnect = reconnect
        self._safety_interval = safety_interval
        self._rotations = rotations
        self._job: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._due: datetime | None = None
        self._closed = False
        # While tasks are passed by: how far leases for workers of a version looked, when the last one did,
        # and when to look from the start again.
        self._passed: dict[str | None, Passed] = {}
        self._passed_at: datetime | None = None
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
        self._passed = {}
        self._queue.note_backlog()
        self.wake()

    def close(self) -> asyncio.Task[None] | None:
        """Stop, and return the lease that is under way, if there is one.

        It ends by itself, and its tasks are delivered or given back.
        """
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        job = self._job or self._before
        return None if job is None or job.done() else job

    async def _run(self) -> None:
        if self._before is not None:
            await asyncio.wait({self._before})
            self._before = None
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
        if self._is_gated():
            return await self._lease_passing(turn)
        key = self._queue.key
        rotation = self._rotations.get(key, Rotation())

        def command(uow: UnitOfWork) -> tuple[list[tuple[LeasedTask, ...]], Rotation]:
            # Read here, the time is never older than a loss of the session that was committed before.
            now = self._clock.now()
            offers = [_offer(uow, entry, now) for entry in turn]
            return lease_tasks(uow, key, offers=offers, rotation=rotation, now=now)

        batches, rotation_after = await self._committed(turn, command)
        self._queue.passes_by = False
        self._hand_out(turn, batches, rotation_after)
        return all(len(batch) == entry.count for entry, batch in zip(turn, batches, strict=True))

    async def _lease_passing(self, turn: list[Reservation]) -> bool:
        """The same while some tasks may not go out, or not to every worker."""
        key = self._queue.key
        rotation = self._rotations.get(key, Rotation())
        asked_at = self._clock.now()
        passed, opening = self._passed_so_far(asked_at), frozenset(self._circuits.opening_in(key))
        versions = _by_version(turn) if self._routes.is_routed(key) else {None: list(range(len(turn)))}

        def command(
            uow: UnitOfWork,
        ) -> tuple[list[tuple[LeasedTask, ...]], Rotation, dict[str | None, Passed]]:
            now = self._clock.now()
            batches: list[tuple[LeasedTask, ...]] = [()] * len(turn)
            rotation_after, passed_after = rotation, {}
            for version, places in versions.items():
                leased, rotation_after, passed_after[version] = lease_passing_tasks(
                    uow,
                    key,
                    offers=[_offer(uow, turn[place], now) for place in places],
                    rotation=rotation_after,
                    passed=passed.get(version, Passed()),
                    opening=opening,
                    version=version,
                    now=now,
                )
                for place, batch in zip(places, leased, strict=True):
                    batches[place] = batch
            return batches, rotation_after, passed_after

        changes = self._changes()
        batches, rotation_after, passed_after = await self._committed(turn, command)
        self._hand_out(turn, batches, rotation_after)
        # Tasks that this lease did not look at again may have been left behind by an earlier one.
        left_behind = bool(passed) and self._queue.passes_by
        self._queue.passes_by = left_behind or any(one.has_passed_by for one in passed_after.values())
        if self._changes() == changes:
            self._passed = {**passed, **passed_after}
        else:
            # What changed meanwhile is not what this lease looked at, but for its own probe.
            self._passed = {}
        # Not when the store looked: what it did not look at again may have come to its time until then.
        self._passed_at = asked_at
        is_full = {
            version: all(len(batches[place]) == turn[place].count for place in places)
            for version, places in versions.items()
        }
        return any(is_full[version] or not one.is_complete for version, one in passed_after.items())

    async def _committed(self, turn: list[Reservation], command: Command[T]) -> T:
        try:
            return await self._store.transact(command)
        except BaseException as error:
            for entry in turn:
                entry.live.settle(entry.count, used=0)
                if isinstance(error, InDoubtError):
                    self._reconnect(entry.live.session.session_id)
            raise

    def _hand_out(
        self, turn: list[Reservation], batches: list[tuple[LeasedTask, ...]], rotation: Rotation
    ) -> None:
        if any(batches):
            self._rotations[self._queue.key] = rotation
        for entry, batch in zip(turn, batches, strict=True):
            self._deliver(entry.live, batch, entry.count)

    def _is_gated(self) -> bool:
        key = self._queue.key
        return self._circuits.is_anything_held_up(key) or self._routes.is_routed(key)

    def _changes(self) -> tuple[int, int]:
        return self._circuits.changes, self._routes.changes

    def _passed_so_far(self, now: datetime) -> Mapping[str | None, Passed]:
        """Return where to go on looking; from the start when a probe is due, or it is long ago."""
        circuits = self._circuits.of_queue(self._queue.key).values()
        is_due = any(circuit.takes_probe(now) for circuit in circuits)
        if is_due or self._look_again_at is None or now >= self._look_again_at:
            self._passed = {}
            self._look_again_at = now + self._safety_interval
        return self._passed

    async def _sleep_until_next(self) -> None:
        key = self._queue.key
        circuits = self._circuits.of_queue(key).values()
        # What was ready then and did not go out is held up.
        after = self._passed_at if self._is_gated() else None
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


def _by_version(turn: list[Reservation]) -> dict[str | None, list[int]]:
    """Return the places of a turn by the versions of their workers."""
    versions: dict[str | None, list[int]] = {}
    for place, entry in enumerate(turn):
        versions.setdefault(entry.live.session.version, []).append(place)
    return versions


def _offer(uow: UnitOfWork, entry: Reservation, now: datetime) -> Offer:
    """Offer nothing to a session whose lease ran out."""
    session = entry.live.session
    is_alive = session.expires_at > now and uow.may_lease(session.session_id)
    return Offer(session=session, count=entry.count if is_alive else 0)
