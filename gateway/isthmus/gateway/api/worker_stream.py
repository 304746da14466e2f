"""One Work stream: credits and outcomes one way, tasks, interrupts and acknowledgements the other way.

Whatever waits when the writer comes around shares a frame. Outcomes of one frame are recorded together, so
that they share a commit, and after its reports. What is being recorded and acknowledgements that the worker
does not read are bounded: beyond that the stream is not read. Tasks are bounded by the worker's credits, and
in bytes: none is leased to a worker that leaves too much unread.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

from isthmus.gateway.api.duplex import read_and_write
from isthmus.gateway.api.operation_messages import interrupt_message, interrupt_of, task_message
from isthmus.gateway.api.recordings import Recordings
from isthmus.gateway.api.running_tasks import RunningTasks
from isthmus.gateway.api.signal_reads import SignalReads
from isthmus.gateway.api.status import status_bytes
from isthmus.gateway.api.task_outcomes import Ref, Refusal, TaskOutcomes, acknowledgement
from isthmus.gateway.api.task_reports import TaskReports, report_acknowledgement
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.lease_tasks import LeasedTask
from isthmus.gateway.core.errors import ExhaustedError, GatewayError, InvalidRequestError
from isthmus.gateway.dispatch.dispatcher import Dispatcher
from isthmus.gateway.dispatch.leases import Leases
from isthmus.gateway.dispatch.live_session import LiveSession
from isthmus.gateway.ports import TaskInterrupted, WorkerSession
from isthmus.v1 import worker_service_pb2
from isthmus.wire import limits
from isthmus.wire.errors import WireFormatError

_LOG = logging.getLogger(__name__)

MAX_OUTCOMES_UNDER_WAY = 4096
# All of them are looked at before the next frame is read: millions of empty ones would stop the loop.
MAX_OUTCOMES_PER_FRAME = 4096
MAX_CREDITS = 16_384
# A frame may exceed this by one task: one large envelope and two small ones. Acknowledgements are small.
MAX_TASK_BYTES_PER_FRAME = limits.MAX_FRAME_BYTES - 2 * limits.MAX_ENVELOPE_BYTES

Write = Callable[[worker_service_pb2.WorkResponse], Awaitable[None]]


class WorkerStream:
    """One connection of a worker session: an outlet of the dispatcher. Lives on the event loop."""

    def __init__(
        self,
        principal: Principal,
        session: WorkerSession,
        *,
        dispatcher: Dispatcher,
        leases: Leases,
        outcomes: TaskOutcomes,
        reports: TaskReports,
        signal_reads: SignalReads,
        running: RunningTasks,
    ) -> None:
        self._dispatcher = dispatcher
        self._leases = leases
        self._outcomes = Recordings(
            prepare=partial(outcomes.prepare, principal),
            record_all=outcomes.record_all,
            acknowledge=self._acknowledge_outcome,
            settled=self._settled,
        )
        self._reports = Recordings(
            prepare=partial(reports.prepare, principal),
            record_all=outcomes.record_all,
            acknowledge=self._acknowledge_report,
            settled=self._settled,
        )
        self._live = LiveSession(session, self)
        self._tasks: deque[LeasedTask] = deque()
        self._interrupts: deque[TaskInterrupted] = deque()
        self._acks: deque[worker_service_pb2.OutcomeAck] = deque()
        self._read_signals = partial(signal_reads.next, principal)
        # By the task that reads: one read each.
        self._reads: dict[bytes, asyncio.Task[worker_service_pb2.TaskSignals]] = {}
        self._running = running
        self._comparing: asyncio.Task[None] | None = None
        self._signals: deque[worker_service_pb2.TaskSignals] = deque()
        self._report_acks: deque[worker_service_pb2.ReportAck] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._changed = asyncio.Event()
        self._hello_answered = False
        self._drain_wanted = False
        self._drain_sent = False
        self._reading = True

    # --- outlet --------------------------------------------------------------------------------------------

    def deliver(self, tasks: Sequence[LeasedTask]) -> None:
        """Send tasks."""
        self._tasks.extend(tasks)
        self._live.unsent_bytes += sum(leased.sealed_bytes for leased in tasks)
        self._changed.set()

    def interrupt(self, interrupt: TaskInterrupted) -> None:
        """Send an interrupt."""
        self._interrupts.append(interrupt)
        self._changed.set()

    def close(self) -> None:
        """End the stream: the worker opens another one, or has done so."""
        self.drain()

    def drain(self) -> None:
        """Send no more tasks, and ask the worker to reconnect."""
        self._live.draining = True
        self._drain_wanted = True
        self._changed.set()

    # --- stream --------------------------------------------------------------------------------------------

    async def serve(
        self,
        first: worker_service_pb2.WorkRequest,
        frames: AsyncIterator[worker_service_pb2.WorkRequest],
        write: Write,
    ) -> None:
        """Serve the worker until it says no more and all its outcomes are answered, or the stream breaks.

        Raises:
            InvalidRequestError: a frame has too many outcomes.
        """
        held = await self._leases.open(self._live.session)
        self._dispatcher.connect(self._live)
        try:
            self._deliver_again(held)
            self._take(first)
            await read_and_write(self._read_frames(frames), self._write_frames(write))
        finally:
            for read in self._reads.values():
                read.cancel()
            if self._comparing is not None:
                self._comparing.cancel()
            # What is being recorded is recorded to the end; the worker asks again on its next connection.
            self._dispatcher.disconnect(self._live, undelivered=tuple(self._tasks))

    async def _read_frames(self, frames: AsyncIterator[worker_service_pb2.WorkRequest]) -> None:
        async for frame in frames:
            self._take(frame)
            await self._room.wait()
        self._reading = False
        self._live.draining = True
        self._changed.set()

    def _deliver_again(self, held: Sequence[LeasedTask]) -> None:
        """Send what the session holds: it may never have arrived. Workers ignore what they run already."""
        self._live.credits -= len(held)
        self.deliver(held)
        self._interrupts.extend(
            interrupt for interrupt in (interrupt_of(leased) for leased in held) if interrupt is not None
        )
        self._changed.set()

    def _take(self, frame: worker_service_pb2.WorkRequest) -> None:
        lists = (frame.outcomes, frame.reports, frame.signal_reads, frame.running)
        if max(len(entries) for entries in lists) > MAX_OUTCOMES_PER_FRAME:
            raise InvalidRequestError(
                f"more than {MAX_OUTCOMES_PER_FRAME} outcomes, reports, reads or tasks in one frame",
                reason="FRAME_TOO_LARGE",
            )
        self._leases.touch(self._live)
        if frame.reports:
            # Before the outcomes: the last report of an attempt that fails is what the next one needs.
            self._reports.take(frame.reports)
        self._outcomes.take(frame.outcomes)
        for read in frame.signal_reads:
            self._begin_read(read)
        if frame.running and self._comparing is None:
            # One that comes while another is being compared is not missed: it is stated again.
            self._comparing = asyncio.get_running_loop().create_task(self._compare(frame.running))
        if frame.draining:
            self._live.draining = True
        if frame.credits:
            room = MAX_CREDITS - max(self._live.credits, 0)
            self._dispatcher.grant(self._live, min(frame.credits, room))

    async def _compare(self, stated: Sequence[Ref]) -> None:
        """Interrupt what the worker runs and the session no longer has."""
        try:
            found = await self._running.interrupts(self._live.session.session_id, stated)
        except (GatewayError, WireFormatError) as error:
            _LOG.info("what worker %s runs is compared later: %s", self._live.session.identity, error)
        else:
            self._interrupts.extend(found)
            self._changed.set()
        finally:
            self._comparing = None

    def _begin_read(self, read: worker_service_pb2.SignalRead) -> None:
        """Answer a read when there are signals; it replaces the one that the task made before."""
        name = read.task.SerializeToString(deterministic=True)
        before = self._reads.pop(name, None)
        if before is not None:
            before.cancel()
        elif len(self._reads) >= MAX_CREDITS:
            self._signals.append(
                worker_service_pb2.TaskSignals(task=read.task, error=status_bytes(_too_many_reads()))
            )
            return
        job = asyncio.get_running_loop().create_task(self._read_signals(read))
        self._reads[name] = job
        job.add_done_callback(partial(self._read_done, name))

    def _read_done(self, name: bytes, job: "asyncio.Task[worker_service_pb2.TaskSignals]") -> None:
        if job.cancelled() or self._reads.get(name) is not job:
            return
        del self._reads[name]
        self._signals.append(job.result())
        self._changed.set()

    def _acknowledge_outcome(self, task: Ref, refusal: Refusal) -> None:
        self._acks.append(acknowledgement(task, refusal))

    def _acknowledge_report(self, task: Ref, refusal: Refusal) -> None:
        self._report_acks.append(report_acknowledgement(task, refusal))

    def _settled(self) -> None:
        self._set_room()
        self._changed.set()

    @property
    def _under_way(self) -> int:
        return self._outcomes.under_way + self._reports.under_way

    def _set_room(self) -> None:
        unread = len(self._acks) + len(self._report_acks)
        if self._under_way + unread < MAX_OUTCOMES_UNDER_WAY:
            self._room.set()
        else:
            self._room.clear()

    async def _write_frames(self, write: Write) -> None:
        while True:
            frame = self._next_frame()
            if frame is not None:
                await write(frame)
            elif not self._reading and not self._under_way:
                return
            else:
                self._changed.clear()
                await self._changed.wait()

    def _next_frame(self) -> worker_service_pb2.WorkResponse | None:
        drain = self._drain_wanted and not self._drain_sent
        acks = self._acks or self._report_acks or self._signals
        if self._hello_answered and not (self._tasks or self._interrupts or acks or drain):
            return None
        frame = worker_service_pb2.WorkResponse(drain=drain)
        if not self._hello_answered:
            frame.lease_ms = self._leases.lease_ms
            self._hello_answered = True
        self._drain_sent = self._drain_sent or drain
        size = 0
        while self._tasks and size <= MAX_TASK_BYTES_PER_FRAME:
            leased = self._tasks.popleft()
            size += leased.sealed_bytes
            frame.tasks.append(task_message(leased))
        left_too_much = self._live.leaves_too_much_unread
        self._live.unsent_bytes -= size
        if left_too_much and not self._live.leaves_too_much_unread:
            # Its credits count again.
            self._dispatcher.grant(self._live, 0)
        # After all tasks: an interrupt of a task that the worker does not know yet means nothing to it.
        while self._interrupts and not self._tasks and size <= MAX_TASK_BYTES_PER_FRAME:
            interrupt = self._interrupts.popleft()
            size += len(interrupt.cancel or b"")
            frame.interrupts.append(interrupt_message(interrupt))
        while self._signals and size <= MAX_TASK_BYTES_PER_FRAME:
            signals = self._signals.popleft()
            size += signals.ByteSize()
            frame.signals.append(signals)
        frame.acks.extend(self._acks)
        self._acks.clear()
        if self._report_acks:
            frame.report_acks.extend(self._report_acks)
            self._report_acks.clear()
        self._set_room()
        return frame


def _too_many_reads() -> ExhaustedError:
    return ExhaustedError(
        "too many tasks of this worker wait for signals",
        reason="TOO_MANY_READS",
        fix="run fewer tasks at a time",
        retry_after_seconds=1,
    )
