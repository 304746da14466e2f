"""Hands tasks to connected workers, with one commit for a start that finds one waiting.

A start that finds a session with a credit and no backlog commits its operation already leased to that
session, then delivers. Otherwise the operation waits in the store and the queue's pump leases it as soon as a
credit is there. Whatever goes wrong between lease and delivery gives the task back; whatever goes wrong with
this process is mended when the session comes back or its lease runs out.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from isthmus.endpoints.versions import Target, target_of
from isthmus.gateway.commands.end_attempt import retry_delivery, return_task
from isthmus.gateway.commands.lease_tasks import LeasedTask
from isthmus.gateway.commands.start_operation import StartOperation, StartResult, start_operation
from isthmus.gateway.commands.transition import queue_of
from isthmus.gateway.core.audit_record import Actor
from isthmus.gateway.core.errors import GatewayError, InDoubtError
from isthmus.gateway.core.operation import Operation, OperationKey
from isthmus.gateway.core.rotation import Rotation
from isthmus.gateway.dispatch.circuits import Circuits
from isthmus.gateway.dispatch.interrupt_box import InterruptBox
from isthmus.gateway.dispatch.live_session import LiveSession
from isthmus.gateway.dispatch.pump import Pump
from isthmus.gateway.dispatch.rate_limits import RateLimits
from isthmus.gateway.dispatch.routes import Routes
from isthmus.gateway.dispatch.tally import Tally
from isthmus.gateway.dispatch.task_queue import TaskQueue
from isthmus.gateway.dispatch.timers import Timers
from isthmus.gateway.ports import (
    Clock,
    QueueKey,
    RegistryChanged,
    Signal,
    Store,
    TaskInterrupted,
    TaskKind,
    TasksReady,
    UnitOfWork,
    WorkerSession,
)

_LOG = logging.getLogger(__name__)
SAFETY_INTERVAL = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    queue: TaskQueue
    pump: Pump


class Dispatcher:
    """All connected workers of this process. Lives on the event loop that runs the store."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        timers: Timers,
        safety_interval: timedelta = SAFETY_INTERVAL,
    ) -> None:
        self._store = store
        self._clock = clock
        self._timers = timers
        self._safety_interval = safety_interval
        self._served: dict[QueueKey, _Served] = {}
        # Of every queue out of which a task went: at most as many as there were endpoints.
        self._rotations: dict[QueueKey, Rotation] = {}
        # What pumps that were closed have under way still.
        self._last_leases: dict[QueueKey, asyncio.Task[None]] = {}
        self._live: dict[bytes, LiveSession] = {}
        self._jobs: set[asyncio.Task[object]] = set()
        self._rates = RateLimits()
        self.interrupts = InterruptBox()
        self.circuits = Circuits(store, clock=clock, changed=self._look_again)
        self.routes = Routes(store, changed=self._look_again)
        # Operations that began, by endpoint.
        self.started = Tally()

    # --- sessions -----------------------------------------------------------------------------------------

    def connect(self, live: LiveSession) -> None:
        """Serve a session from now on; an older connection of the same session is closed."""
        older = self._live.get(live.session.session_id)
        if older is not None:
            self.disconnect(older)
            older.outlet.close()
        self._live[live.session.session_id] = live
        served = self._served.get(live.session.queue)
        if served is None:
            queue = TaskQueue(live.session.queue)
            pump = Pump(
                queue,
                store=self._store,
                clock=self._clock,
                timers=self._timers,
                deliver=self._deliver,
                reconnect=self._reconnect,
                safety_interval=self._safety_interval,
                rotations=self._rotations,
                circuits=self.circuits,
                routes=self.routes,
                before=self._last_leases.pop(live.session.queue, None),
            )
            served = self._served[live.session.queue] = _Served(queue=queue, pump=pump)
        served.queue.add(live)

    def disconnect(self, live: LiveSession, undelivered: Sequence[LeasedTask] = ()) -> None:
        """Serve a connection no longer; what was not sent on it goes to another one. Leases stay."""
        if not live.closed:
            live.closed = True
            session = live.session
            if self._live.get(session.session_id) is live:
                del self._live[session.session_id]
            served = self._served.get(session.queue)
            if served is not None:
                served.queue.discard(live)
                if not len(served.queue):
                    last_lease = served.pump.close()
                    if last_lease is not None:
                        self._last_leases[session.queue] = last_lease
                    del self._served[session.queue]
        if undelivered:
            self._redirect(live.session.session_id, undelivered)

    def grant(self, live: LiveSession, count: int) -> None:
        """Add credits to a session."""
        live.credits += count
        served = self._served.get(live.session.queue)
        if served is None or live.credits <= 0:
            return
        if served.queue.passes_by:
            # What could not go out to others may go out to this one.
            served.queue.note_backlog()
        if served.queue.backlog:
            served.pump.wake()

    def drop(self, sessions: Iterable[WorkerSession]) -> None:
        """Close the connections of sessions whose lease ran out: their tasks belong to nobody now."""
        for session in sessions:
            self.interrupts.forget(session.session_id)
            live = self._live.get(session.session_id)
            if live is not None:
                self.disconnect(live)
                live.outlet.close()

    def pollers(self, queue: QueueKey) -> int:
        """How many sessions of a queue are connected."""
        served = self._served.get(queue)
        return 0 if served is None else len(served.queue)

    def takers(self, operation: Operation, present: Mapping[str, int] | None = None) -> tuple[int, Target]:
        """How many sessions may get the next attempt of an operation, and which ones may.

        ``present`` are the sessions of each version that poll its queue; None: those connected here.
        """
        queue = queue_of(operation)
        if present is None:
            served = self._served.get(queue)
            present = {} if served is None else served.queue.versions()
        if not self.routes.is_routed(queue):
            return sum(present.values()), Target()
        target = self.routes.target(operation, present.keys())
        return sum(count for version, count in present.items() if target.takes(version)), target

    def connected(self) -> Mapping[QueueKey, int]:
        """How many sessions of each queue are connected."""
        return {key: len(served.queue) for key, served in self._served.items()}

    async def close(self) -> None:
        """Lease nothing more, and wait for what is under way."""
        for served in self._served.values():
            served.pump.close()
        if self._jobs:
            await asyncio.wait(self._jobs)
        await self.circuits.close()

    # --- starts -------------------------------------------------------------------------------------------

    async def start(self, request: StartOperation) -> StartResult:
        """Commit a start, and deliver its task if a worker waits. Cancelling the caller stops neither.

        Raises:
            GatewayError: as start_operation and Store.transact.
        """
        (outcome,) = await asyncio.shield(self.start_all((request,)))
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def start_all(
        self, requests: Sequence[StartOperation]
    ) -> "asyncio.Future[list[StartResult | BaseException]]":
        """Commit starts together, each for itself, and deliver the tasks for which workers wait.

        Whoever cancels the future should shield it: the tasks are delivered when it is done.

        Raises:
            GatewayError: as Store.submit_all; nothing is started.
        """
        now = self._clock.now()
        waits = [self._rates.take(request, now) for request in requests]
        # Who has to wait can only attach: a worker is not reserved for it.
        lives = [
            None if wait else self._reserve(request, now)
            for request, wait in zip(requests, waits, strict=True)
        ]
        commands = [
            partial(_start, request, None if live is None else live.session, wait, self._clock)
            for request, live, wait in zip(requests, lives, waits, strict=True)
        ]
        keys = [
            OperationKey(caller=request.header.sender_namespace, operation_id=request.header.operation_id)
            for request in requests
        ]
        try:
            job = self._store.submit_all(commands, reads=keys)
        except GatewayError:
            self._rates.settle(requests, waits, [None] * len(requests))
            self._deliver_started(lives, [()] * len(lives))
            raise
        job.add_done_callback(partial(self._started, requests, waits, lives))
        return job

    def _reserve(self, request: StartOperation, now: datetime) -> LiveSession | None:
        if request.delay:
            # It waits in the store for its time.
            return None
        endpoint = request.endpoint
        queue = QueueKey(namespace=endpoint.namespace, task_queue=endpoint.task_queue)
        if self.circuits.holds_up(queue, endpoint.name, request.header.sender_namespace):
            # It waits in the store; the pump decides when it goes out.
            return None
        served = self._served.get(queue)
        if served is None:
            return None
        takes = None
        if endpoint.versions:
            takes = target_of(endpoint.versions, request.header.operation_id, present=frozenset()).takes
        live = served.queue.reserve_one(now, takes)
        if live is None:
            # It will be in line: a slot that comes free before the commit says so is not for a later start.
            served.queue.note_backlog()
        return live

    def _started(
        self,
        requests: Sequence[StartOperation],
        waits: Sequence[float],
        lives: Sequence[LiveSession | None],
        job: "asyncio.Future[list[StartResult | BaseException]]",
    ) -> None:
        results: Sequence[StartResult | BaseException | None]
        results = [None] * len(lives) if job.cancelled() else job.result()
        self._rates.settle(requests, waits, results)
        for request, result in zip(requests, results, strict=True):
            if isinstance(result, StartResult) and not result.attached:
                self.started.add(request.endpoint.name)
        leased = [
            (result.leased,) if isinstance(result, StartResult) and result.leased is not None else ()
            for result in results
        ]
        self._deliver_started(lives, leased)
        for live, result in zip(lives, results, strict=True):
            if live is not None and isinstance(result, InDoubtError):
                self._reconnect(live.session.session_id)

    def _deliver_started(
        self, lives: Sequence[LiveSession | None], leased: Sequence[tuple[LeasedTask, ...]]
    ) -> None:
        for live, tasks in zip(lives, leased, strict=True):
            if live is None:
                continue
            self._deliver(live, tasks, 1)
            if not tasks:
                # Nothing was leased for a credit that was reserved: it may serve the backlog.
                self.grant(live, 0)

    # --- signals ------------------------------------------------------------------------------------------

    def on_signals(self, signals: Sequence[Signal]) -> None:
        """Wake pumps and pass interrupts on."""
        self.circuits.on_signals(signals)
        for signal in signals:
            if type(signal) is TasksReady:
                served = self._served.get(signal.queue)
                if served is not None:
                    served.pump.ready_at(signal.ready_at)
            elif type(signal) is TaskInterrupted:
                live = self._live.get(signal.session_id)
                if live is None:
                    self.interrupts.put(signal)
                else:
                    live.outlet.interrupt(signal)
            elif type(signal) is RegistryChanged and signal.endpoint:
                self._in_background(self._refresh_routes())

    def on_signals_of_others(self, signals: Sequence[Signal]) -> None:
        """Do as ``on_signals`` for what another gateway committed, and count its starts."""
        self._rates.on_other_gateways(signals, self._clock.now())
        self.on_signals(signals)

    def _look_again(self, queue: QueueKey) -> None:
        served = self._served.get(queue)
        if served is not None:
            served.pump.look_again()

    async def _refresh_routes(self) -> None:
        try:
            await self.routes.refresh()
        except GatewayError as error:
            _LOG.warning("ramps of endpoints are looked up later: %s", error.message)

    def _in_background(self, work: Coroutine[object, object, None]) -> None:
        job = asyncio.get_running_loop().create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    # --- delivery -----------------------------------------------------------------------------------------

    def _deliver(self, live: LiveSession, tasks: Sequence[LeasedTask], reserved: int) -> None:
        if tasks and not live.closed:
            live.outlet.deliver(tasks)
        live.settle(reserved, used=len(tasks))
        if tasks and live.closed:
            self._redirect(live.session.session_id, tasks)

    def _reconnect(self, session_id: bytes) -> None:
        """Have a session connect anew: it is told then what it holds, whatever was delivered before."""
        self.interrupts.forget(session_id)
        live = self._live.get(session_id)
        if live is not None:
            live.outlet.close()

    def _redirect(self, session_id: bytes, tasks: Sequence[LeasedTask]) -> None:
        """Send tasks on the session's newer connection, or give them back."""
        live = self._live.get(session_id)
        if live is not None:
            live.credits -= len(tasks)
            live.outlet.deliver(tasks)
        else:
            self.give_back(tasks)

    def give_back(self, tasks: Iterable[LeasedTask]) -> None:
        """Put tasks that were leased and not delivered back into their queue, in the background."""
        for leased in tasks:
            job = asyncio.get_running_loop().create_task(self._give_back(leased))
            self._jobs.add(job)
            job.add_done_callback(self._jobs.discard)

    async def _give_back(self, leased: LeasedTask) -> None:
        task = leased.task
        actor = Actor(namespace=task.queue.namespace)

        def command(uow: UnitOfWork) -> None:
            if task.kind is not TaskKind.START:
                now = self._clock.now()
                retry_delivery(uow, task.key, task.kind, actor, now=now, delay=timedelta(0))
            else:
                return_task(uow, task.key, task.attempt, actor, now=self._clock.now())

        try:
            await self._store.transact(command)
        except GatewayError as error:
            # Not lost: its session is renewed by nobody, or is told when it connects anew.
            _LOG.info("a task that was not delivered waits for its session: %s", error.message)
            if task.session_id is not None:
                self._reconnect(task.session_id)


def _start(
    request: StartOperation, session: WorkerSession | None, wait_seconds: float, clock: Clock, uow: UnitOfWork
) -> StartResult:
    # Read here, the time is never older than a loss of the session that was committed before: an operation is
    # not leased to a session that is gone.
    now = clock.now()
    if session is not None and (session.expires_at <= now or not uow.may_lease(session.session_id)):
        session = None
    return start_operation(uow, request, now=now, session=session, wait_seconds=wait_seconds)
