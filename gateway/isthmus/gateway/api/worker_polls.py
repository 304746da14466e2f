"""The unary twin of the Work stream: a session whose connection is one poll after the other."""

import asyncio
from collections.abc import Sequence

from isthmus.gateway.api.operation_messages import interrupt_message, interrupt_of, task_message
from isthmus.gateway.api.running_tasks import RunningTasks
from isthmus.gateway.api.task_outcomes import TaskOutcomes
from isthmus.gateway.api.task_reports import TaskReports
from isthmus.gateway.api.worker_hello import WorkerHellos
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.lease_tasks import LeasedTask
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.gateway.dispatch.dispatcher import Dispatcher
from isthmus.gateway.dispatch.interrupt_box import InterruptBox
from isthmus.gateway.dispatch.leases import Leases
from isthmus.gateway.dispatch.live_session import LiveSession
from isthmus.gateway.ports import TaskInterrupted, WorkerSession
from isthmus.v1 import worker_service_pb2
from isthmus.wire import limits

MAX_WAIT_SECONDS = 30.0
MAX_TASKS = 256
MAX_OUTCOMES = 1024
MAX_TASK_BYTES = limits.MAX_FRAME_BYTES - 2 * limits.MAX_ENVELOPE_BYTES


class Poll:
    """One poll: an outlet that gathers tasks until it is answered. Lives on the event loop."""

    def __init__(self, session: WorkerSession, interrupts: InterruptBox) -> None:
        self.live = LiveSession(session, self, on_settled=self._settled)
        self.tasks: list[LeasedTask] = []
        self._interrupts = interrupts
        self._answerable = asyncio.Event()

    def deliver(self, tasks: Sequence[LeasedTask]) -> None:
        """Gather tasks; the answer goes out as soon as nothing more is under way to it."""
        self.tasks.extend(tasks)
        self.live.draining = True
        if self.live.reserved == 0:
            self._answerable.set()

    def interrupt(self, interrupt: TaskInterrupted) -> None:
        """Keep an interrupt for the next answer to outcomes."""
        self._interrupts.put(interrupt)

    def close(self) -> None:
        """Answer now: the session polls elsewhere, or is lost."""
        self._answerable.set()

    def drain(self) -> None:
        """Answer now: the gateway stops."""
        self.live.draining = True
        if self.live.reserved == 0:
            self._answerable.set()

    async def wait(self, seconds: float) -> None:
        """Return when there are tasks, or the time is over and nothing is under way."""
        try:
            async with asyncio.timeout(seconds):
                await self._answerable.wait()
        except TimeoutError:
            self.live.draining = True
            if self.live.reserved:
                await self._answerable.wait()

    def _settled(self) -> None:
        if self.live.draining:
            self._answerable.set()


class WorkerPolls:
    """Answers polls and outcomes of workers without a stream."""

    def __init__(
        self,
        *,
        hellos: WorkerHellos,
        dispatcher: Dispatcher,
        leases: Leases,
        outcomes: TaskOutcomes,
        reports: TaskReports,
        running: RunningTasks,
    ) -> None:
        self._hellos = hellos
        self._dispatcher = dispatcher
        self._leases = leases
        self._outcomes = outcomes
        self._reports = reports
        self._running = running

    async def poll(
        self, principal: Principal, request: worker_service_pb2.PollTasksRequest
    ) -> worker_service_pb2.PollTasksResponse:
        """Lease up to the given number of tasks, waiting for the first.

        A session that this process did not know, or that lost an answer, gets what it holds again: it may
        never have arrived. Workers ignore what they run already.

        Raises:
            WireFormatError, GatewayError: the poll is refused.
        """
        if request.max_tasks < 1:
            raise InvalidRequestError(
                "max_tasks is at least 1",
                fix="ask for one task at least",
            )
        session = await self._hellos.session(principal, request.worker)
        held = await self._leases.open(session)
        box = self._dispatcher.interrupts
        is_known = box.open(session.session_id)
        if held and (request.again or not is_known):
            self._interrupt_again(held)
            return self._answer(held)
        poll = Poll(session, box)
        self._dispatcher.connect(poll.live)
        answered = False
        try:
            self._dispatcher.grant(poll.live, min(request.max_tasks, MAX_TASKS))
            await poll.wait(min(request.wait_ms / 1000, MAX_WAIT_SECONDS))
            answered = True
        finally:
            # A poll that was abandoned gives back what it gathered.
            self._dispatcher.disconnect(poll.live, undelivered=() if answered else poll.tasks)
        return self._answer(poll.tasks)

    async def respond(
        self, principal: Principal, request: worker_service_pb2.RespondTasksRequest
    ) -> worker_service_pb2.RespondTasksResponse:
        """Record reports and outcomes, renew the session, and say which of its tasks to interrupt.

        Raises:
            WireFormatError, GatewayError: the session is refused.
        """
        if max(len(request.outcomes), len(request.reports), len(request.running)) > MAX_OUTCOMES:
            raise InvalidRequestError(
                f"more than {MAX_OUTCOMES} outcomes, reports or tasks in one call",
                fix="send the others in another call",
            )
        session = await self._hellos.session(principal, request.worker)
        # Before the outcomes: the last report of an attempt that fails is what the next one needs.
        report_acks = await asyncio.gather(
            *[self._reports.acknowledge(principal, report) for report in request.reports]
        )
        acknowledgements = [self._outcomes.acknowledge(principal, outcome) for outcome in request.outcomes]
        # Together, so that they share a commit.
        renewing = asyncio.ensure_future(self._leases.renew(session))
        acks = await asyncio.gather(*acknowledgements)
        await renewing
        lost = await self._running.interrupts(session.session_id, request.running)
        interrupts = [*self._dispatcher.interrupts.take(session.session_id), *lost]
        return worker_service_pb2.RespondTasksResponse(
            acks=acks,
            interrupts=[interrupt_message(interrupt) for interrupt in interrupts],
            report_acks=report_acks,
        )

    def _interrupt_again(self, held: Sequence[LeasedTask]) -> None:
        for leased in held:
            interrupt = interrupt_of(leased)
            if interrupt is not None:
                self._dispatcher.interrupts.put(interrupt)

    def _answer(self, tasks: Sequence[LeasedTask]) -> worker_service_pb2.PollTasksResponse:
        answer = worker_service_pb2.PollTasksResponse(lease_ms=self._leases.lease_ms)
        size = 0
        for position, leased in enumerate(tasks):
            if size > MAX_TASK_BYTES:
                self._dispatcher.give_back(tasks[position:])
                break
            size += leased.sealed_bytes
            answer.tasks.append(task_message(leased))
        return answer
