"""One Work stream: credits and outcomes one way, tasks, interrupts and acknowledgements the other way.

Whatever waits when the writer comes around shares a frame. Outcomes of one frame are recorded together, so
that they share a commit. Outcomes under way and acknowledgements that the worker does not read are bounded:
beyond that the stream is not read. Tasks are bounded by the worker's credits, and in bytes: none is leased
to a worker that leaves too much unread.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial

from isthmus.gateway.api.duplex import read_and_write
from isthmus.gateway.api.eager import run_now
from isthmus.gateway.api.operation_messages import interrupt_message, interrupt_of, task_message
from isthmus.gateway.api.task_outcomes import Prepared, Ref, Refusal, TaskOutcomes, acknowledgement
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.lease_tasks import LeasedTask
from isthmus.gateway.core.errors import GatewayError, InvalidRequestError
from isthmus.gateway.dispatch.dispatcher import Dispatcher
from isthmus.gateway.dispatch.leases import Leases
from isthmus.gateway.dispatch.live_session import LiveSession
from isthmus.gateway.ports import TaskInterrupted, WorkerSession
from isthmus.v1 import worker_service_pb2
from isthmus.wire import limits

MAX_OUTCOMES_UNDER_WAY = 4096
# All of them are looked at before the next frame is read: millions of empty ones would stop the loop.
MAX_OUTCOMES_PER_FRAME = 4096
# One commit after the other: nobody else waits for all of a large frame.
MAX_OUTCOMES_PER_COMMIT = 128
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
    ) -> None:
        self._principal = principal
        self._dispatcher = dispatcher
        self._leases = leases
        self._outcomes = outcomes
        self._live = LiveSession(session, self)
        self._tasks: deque[LeasedTask] = deque()
        self._interrupts: deque[TaskInterrupted] = deque()
        self._acks: deque[worker_service_pb2.OutcomeAck] = deque()
        self._preparing: set[asyncio.Task[Prepared]] = set()
        self._under_way = 0
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
        self._live.unsent_bytes += sum(map(_task_bytes, tasks))
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
        if len(frame.outcomes) > MAX_OUTCOMES_PER_FRAME:
            raise InvalidRequestError(
                f"more than {MAX_OUTCOMES_PER_FRAME} outcomes in one frame", reason="FRAME_TOO_LARGE"
            )
        self._leases.touch(self._live)
        self._prepare(frame.outcomes)
        self._set_room()
        if frame.draining:
            self._live.draining = True
        if frame.credits:
            room = MAX_CREDITS - max(self._live.credits, 0)
            self._dispatcher.grant(self._live, min(frame.credits, room))

    def _prepare(self, outcomes: Iterable[worker_service_pb2.TaskOutcome]) -> None:
        """Check outcomes, and record together those that need not wait for anything before that."""
        checked: list[tuple[Ref, Prepared]] = []
        for outcome in outcomes:
            task = outcome.task
            try:
                prepared = run_now(self._outcomes.prepare(self._principal, outcome))
            except Exception as error:  # noqa: BLE001 - whatever it is becomes a status
                self._acks.append(acknowledgement(task, error))
                continue
            if isinstance(prepared, asyncio.Task):
                self._under_way += 1
                self._preparing.add(prepared)
                prepared.add_done_callback(partial(self._prepared, task))
            else:
                checked.append((task, prepared))
        for first in range(0, len(checked), MAX_OUTCOMES_PER_COMMIT):
            self._record(checked[first : first + MAX_OUTCOMES_PER_COMMIT])
        self._changed.set()

    def _prepared(self, task: Ref, job: "asyncio.Task[Prepared]") -> None:
        self._preparing.discard(job)
        self._under_way -= 1
        error = job.exception()
        if error is None:
            self._record([(task, job.result())])
        else:
            self._acks.append(acknowledgement(task, error))
        self._set_room()
        self._changed.set()

    def _record(self, checked: Sequence[tuple[Ref, Prepared]]) -> None:
        tasks = [task for task, _ in checked]
        try:
            job = self._outcomes.record_all([prepared for _, prepared in checked])
        except GatewayError as error:
            self._acks.extend(acknowledgement(task, error) for task in tasks)
            return
        self._under_way += len(tasks)
        job.add_done_callback(partial(self._recorded, tasks))

    def _recorded(self, tasks: Sequence[Ref], job: "asyncio.Future[list[Refusal]]") -> None:
        self._under_way -= len(tasks)
        self._acks.extend(map(acknowledgement, tasks, job.result()))
        self._set_room()
        self._changed.set()

    def _set_room(self) -> None:
        if self._under_way + len(self._acks) < MAX_OUTCOMES_UNDER_WAY:
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
        if self._hello_answered and not (self._tasks or self._interrupts or self._acks or drain):
            return None
        frame = worker_service_pb2.WorkResponse(drain=drain)
        if not self._hello_answered:
            frame.lease_ms = self._leases.lease_ms
            self._hello_answered = True
        self._drain_sent = self._drain_sent or drain
        size = 0
        while self._tasks and size <= MAX_TASK_BYTES_PER_FRAME:
            leased = self._tasks.popleft()
            size += _task_bytes(leased)
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
        frame.acks.extend(self._acks)
        self._acks.clear()
        self._set_room()
        return frame


def _task_bytes(leased: LeasedTask) -> int:
    return len(leased.request) + len(leased.cancel or b"") + len(leased.started or b"")
