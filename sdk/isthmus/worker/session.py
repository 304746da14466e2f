"""A worker's session, whatever carries it: who polls, how many tasks it may hold, what it has to say.

Leases belong to the session, not to a connection: its id survives a reconnect, and so do the tasks that run
and the outcomes that nobody acknowledged. Credits are counted afresh on each connection.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from isthmus.v1 import worker_service_pb2
from isthmus.wire.header import SESSION_BYTES
from isthmus.worker.outbox import Outbox
from isthmus.worker.pool import TaskPool, TaskRunner
from isthmus.worker.reports import Reports
from isthmus.worker.signal_reads import SignalReads

DEFAULT_LEASE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """Who polls, and how much it takes at a time."""

    task_queue: str
    identity: str
    version: str
    max_concurrent_tasks: int


class Session:
    """What a transport asks for frames and hands frames to. Lives on the worker's event loop."""

    def __init__(
        self, *, options: SessionOptions, runner: TaskRunner, reports: Reports, signal_reads: SignalReads
    ) -> None:
        self._options = options
        self._changed = asyncio.Event()
        self.reports = reports
        reports.bind(self._changed.set)
        self.signal_reads = signal_reads
        signal_reads.bind(self._changed.set)
        self.outbox = Outbox(wake=self._changed.set)
        self.pool = TaskPool(runner=runner, outbox=self.outbox, freed=self._changed.set)
        self.hello = worker_service_pb2.WorkerHello(
            session_id=os.urandom(SESSION_BYTES),
            task_queue=options.task_queue,
            version=options.version,
            identity=options.identity,
        )
        self._granted = 0
        self._draining = False
        self._draining_announced = False
        self._heartbeat_due = False
        # How long the session lives without a sign of life, as the gateway said last; seconds.
        self.lease_seconds = DEFAULT_LEASE_SECONDS
        # When what runs was stated last; None: not yet on this connection.
        self._stated_at: float | None = None
        self._closed = asyncio.Event()
        self._established = asyncio.Event()
        self._heard = False
        self._on_heard: Callable[[], None] | None = None

    @property
    def draining(self) -> bool:
        """Whether no further task is wanted."""
        return self._draining

    @property
    def established(self) -> bool:
        """Whether the gateway has ever answered."""
        return self._established.is_set()

    def on_heard(self, listener: Callable[[], None]) -> None:
        """Call the listener whenever the gateway answers for the first time on a connection."""
        self._on_heard = listener

    async def wait_established(self) -> None:
        """Return when the gateway has answered for the first time."""
        await self._established.wait()

    @property
    def closed(self) -> bool:
        """Whether everything is said: the transport ends its connection and returns."""
        return self._closed.is_set()

    def free_slots(self) -> int:
        """How many tasks may be asked for, beyond those that run and those that were asked for already.

        Outcomes that nobody acknowledges take slots too: a gateway that cannot commit sends no further tasks.
        """
        if self._draining:
            return 0
        most = self._options.max_concurrent_tasks
        taken = len(self.pool) + self._granted
        return max(0, min(most - taken, 2 * most - taken - len(self.outbox)))

    def connected(self) -> None:
        """Begin on a new connection: nothing is granted on it, what nobody acknowledged is sent again."""
        self._granted = 0
        self._stated_at = None
        self._draining_announced = False
        self._heard = False
        self.outbox.send_all_again()
        self.reports.send_all_again()
        self.signal_reads.send_all_again()

    def take_credits(self) -> int:
        """Return how many tasks to ask for now; they count as asked for."""
        free = self.free_slots()
        self._granted += free
        return free

    def give_back_credits(self) -> None:
        """Forget what was asked for and did not come: the call that asked is over."""
        self._granted = 0

    def take_running(self) -> list[worker_service_pb2.TaskRef]:
        """Return the tasks to state now: all of them on a new connection; once a lease those that run longer.

        Whatever of them is not the session's any more, the gateway interrupts: an interrupt may get lost.
        """
        now, before = time.monotonic(), self._stated_at
        if before is None:
            self._stated_at = now
            return self.pool.refs(began_before=now)
        if now - before < self.lease_seconds:
            return []
        self._stated_at = now
        return self.pool.refs(began_before=now - self.lease_seconds)

    def next_frame(self) -> worker_service_pb2.WorkRequest | None:
        """Return what there is to say now, or None. Everything is said once on each connection."""
        credits_ = self.take_credits()
        reports = self.reports.take()
        reads = self.signal_reads.take()
        outcomes = self.outbox.take()
        running = self.take_running()
        announce = self._draining and not self._draining_announced
        if not (credits_ or reports or reads or outcomes or running or announce or self._heartbeat_due):
            return None
        self._draining_announced = self._draining
        self._heartbeat_due = False
        return worker_service_pb2.WorkRequest(
            credits=credits_,
            reports=reports,
            signal_reads=reads,
            outcomes=outcomes,
            draining=self._draining,
            running=running,
        )

    async def changed(self) -> None:
        """Return when next_frame or closed may answer differently."""
        await self._changed.wait()
        self._changed.clear()

    async def wait_closed(self) -> None:
        """Return when everything is said."""
        await self._closed.wait()

    def wake(self) -> None:
        """Let whoever waits for a change look again."""
        self._changed.set()

    def heartbeat(self) -> None:
        """Say something, even when there is nothing to say."""
        self._heartbeat_due = True
        self._changed.set()

    def receive(
        self,
        *,
        tasks: Iterable[worker_service_pb2.Task] = (),
        interrupts: Iterable[worker_service_pb2.TaskInterrupt] = (),
        acks: Iterable[worker_service_pb2.OutcomeAck] = (),
        report_acks: Iterable[worker_service_pb2.ReportAck] = (),
        signals: Iterable[worker_service_pb2.TaskSignals] = (),
    ) -> None:
        """Take in what the gateway sent."""
        self._established.set()
        if not self._heard:
            self._heard = True
            if self._on_heard is not None:
                self._on_heard()
        self.reports.acknowledge(report_acks)
        self.signal_reads.receive(signals)
        acknowledged = False
        for ack in acks:
            self.outbox.acknowledge(ack)
            acknowledged = True
        arrived = list(tasks)
        if arrived:
            # Below zero after a reconnect, when the gateway sends what the session holds without a credit:
            # those are owed, and granted as soon as there are slots.
            self._granted -= len(arrived)
            self.pool.accept(arrived)
        # Interrupts come after the tasks of their frame, and may concern them.
        self.pool.interrupt(interrupts)
        if acknowledged or arrived:
            # Slots may be free again: acknowledged outcomes, and deliveries of what runs already.
            self._changed.set()

    def drain(self) -> None:
        """Ask for no further tasks."""
        self._draining = True
        self._changed.set()

    def close(self) -> None:
        """Say nothing more."""
        self._closed.set()
        self._changed.set()
