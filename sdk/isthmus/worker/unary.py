"""The unary twin of the Work stream: a long poll for tasks, and calls that answer them.

For proxies that break streams. Answers leave as they do on the stream: everything that gathered while the
previous call was in flight.
"""

import asyncio
from collections.abc import Iterable

from isthmus.transport.connection import Connection
from isthmus.transport.errors import GatewayError, GatewayInternalError
from isthmus.v1 import worker_service_pb2
from isthmus.worker.session import DEFAULT_LEASE_SECONDS, Session
from isthmus.worker.stream import HEARTBEATS_PER_LEASE
from isthmus.worker.stub import worker_stub
from isthmus.worker.tasks import key_of

POLL_WAIT_MS = 10_000
CALL_TIMEOUT_SECONDS = 20.0
MAX_INTERRUPT_LATENCY_SECONDS = 2.0


class UnaryTransport:
    """Polls and answers for a session, call by call."""

    def __init__(self, *, session: Session, connection: Connection) -> None:
        self._session = session
        self._connection = connection
        self._stub = worker_stub(connection)
        self._slots_changed = asyncio.Event()
        self.established = False

    async def serve(self) -> None:
        """Poll and answer until the session is closed.

        Raises:
            GatewayError: a call failed; what it carried is sent again by the next ``serve``.
        """
        self._session.connected()
        answering = asyncio.create_task(self._answer())
        polling = asyncio.create_task(self._poll())
        reading = asyncio.create_task(self._read_signals())
        jobs = {answering, polling, reading}
        try:
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            for job in jobs:
                if job.done():
                    job.result()
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    async def _poll(self) -> None:
        again = True  # the answer to the last poll of the connection before may have been lost
        while not self._session.closed:
            free = self._session.take_credits()
            if not free:
                self._slots_changed.clear()
                await self._slots_changed.wait()
                continue
            response = await self._connection.call(
                self._stub.PollTasks,
                worker_service_pb2.PollTasksRequest(
                    worker=self._session.hello, max_tasks=free, wait_ms=POLL_WAIT_MS, again=again
                ),
                timeout_seconds=CALL_TIMEOUT_SECONDS,
            )
            self.established, again = True, False
            self._session.lease_seconds = response.lease_ms / 1000 or DEFAULT_LEASE_SECONDS
            self._session.receive(tasks=response.tasks)
            self._session.give_back_credits()

    async def _answer(self) -> None:
        while not self._session.closed:
            reports = self._session.reports.take()
            outcomes = self._session.outbox.take()
            running = self._session.take_running()
            if not (reports or outcomes or running) and not await self._due():
                continue
            response = await self._connection.call(
                self._stub.RespondTasks,
                worker_service_pb2.RespondTasksRequest(
                    worker=self._session.hello, outcomes=outcomes, reports=reports, running=running
                ),
                timeout_seconds=CALL_TIMEOUT_SECONDS,
            )
            self.established = True
            self._session.receive(
                interrupts=response.interrupts, acks=response.acks, report_acks=response.report_acks
            )
            self._slots_changed.set()
            if _unanswered(outcomes, response.acks) or _unanswered(reports, response.report_acks):
                # The next ``serve`` sends it again: it would lie here for as long as the calls succeed.
                raise GatewayInternalError("the gateway did not acknowledge all that it was told")

    async def _read_signals(self) -> None:
        """Ask for signals, each read in a call of its own: the gateway holds it until there are some."""
        async with asyncio.TaskGroup() as calls:
            while not self._session.closed:
                for read in self._session.signal_reads.take():
                    calls.create_task(self._read(read))
                await self._session.signal_reads.wanted()

    async def _read(self, read: worker_service_pb2.SignalRead) -> None:
        try:
            response = await self._connection.call(
                self._stub.ReadSignals,
                worker_service_pb2.ReadSignalsRequest(read=read, wait_ms=POLL_WAIT_MS),
                timeout_seconds=CALL_TIMEOUT_SECONDS,
            )
        except GatewayError as error:
            self._session.signal_reads.failed(read, error)
        else:
            self._session.signal_reads.receive([response.signals])

    async def _due(self) -> bool:
        """Wait for a change, or until a heartbeat is due; return whether one is.

        Interrupts come with answers only, so while tasks run the heartbeat is quicker.
        """
        seconds = self._session.lease_seconds / HEARTBEATS_PER_LEASE
        if len(self._session.pool):
            seconds = min(seconds, MAX_INTERRUPT_LATENCY_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                await self._session.changed()
        except TimeoutError:
            return True
        self._slots_changed.set()
        return False


def _unanswered(
    told: Iterable[worker_service_pb2.TaskOutcome | worker_service_pb2.TaskReport],
    acks: Iterable[worker_service_pb2.OutcomeAck | worker_service_pb2.ReportAck],
) -> bool:
    answered = {(key_of(ack.task), ack.task.attempt) for ack in acks}
    return any((key_of(each.task), each.task.attempt) not in answered for each in told)
