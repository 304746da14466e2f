"""A small WorkerService that a test plays by hand: it sends what the test says, shows what arrives."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from isthmus.envelope.seal import Sealed
from isthmus.v1 import worker_service_pb2, worker_service_pb2_grpc

PATIENCE_SECONDS = 10.0


class Stream:
    """One Work stream, seen from the gateway."""

    def __init__(self) -> None:
        self._frames: asyncio.Queue[worker_service_pb2.WorkRequest | None] = asyncio.Queue()
        self._outcomes: asyncio.Queue[worker_service_pb2.TaskOutcome] = asyncio.Queue()
        self._answers: asyncio.Queue[worker_service_pb2.WorkResponse | grpc.StatusCode | None] = (
            asyncio.Queue()
        )
        self._reports: asyncio.Queue[worker_service_pb2.TaskReport] = asyncio.Queue()
        self._arrived = asyncio.Event()
        self.hello = worker_service_pb2.WorkerHello()
        self.said_hello = False
        self.credits = 0
        self.draining = False
        self.empty_frames = 0
        self.running: list[list[worker_service_pb2.TaskRef]] = []
        """What the worker stated that it runs, each time."""
        self.largest_frame = 0
        self.ended = asyncio.Event()

    def send(self, **fields: Any) -> None:
        """Send a frame."""
        self._answers.put_nowait(worker_service_pb2.WorkResponse(**fields))

    def open(self, *, lease_ms: int = 30_000) -> None:
        """Send the first frame."""
        self.send(lease_ms=lease_ms)

    def end(self) -> None:
        """End the stream politely."""
        self._answers.put_nowait(None)

    def fail(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        """Break the stream."""
        self._answers.put_nowait(code)

    def acknowledge(
        self,
        outcome: worker_service_pb2.TaskOutcome,
        code: grpc.StatusCode | None = None,
        *,
        reason: str = "",
    ) -> None:
        """Answer an outcome."""
        self.send(acks=[worker_service_pb2.OutcomeAck(task=outcome.task, error=_error(code, reason))])

    def acknowledge_report(
        self,
        report: worker_service_pb2.TaskReport,
        code: grpc.StatusCode | None = None,
        *,
        reason: str = "",
    ) -> None:
        """Answer a report."""
        self.send(report_acks=[worker_service_pb2.ReportAck(task=report.task, error=_error(code, reason))])

    async def report(self, *, acknowledge: bool = True) -> worker_service_pb2.TaskReport:
        """Return the next report."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            report = await self._reports.get()
        if acknowledge:
            self.acknowledge_report(report)
        return report

    def no_report(self) -> bool:
        """Tell whether every report that arrived was looked at."""
        return self._reports.empty()

    async def outcome(self, *, acknowledge: bool = True) -> worker_service_pb2.TaskOutcome:
        """Return the next outcome."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            outcome = await self._outcomes.get()
        if acknowledge:
            self.acknowledge(outcome)
        return outcome

    def no_outcome(self) -> bool:
        """Tell whether every outcome that arrived was looked at."""
        return self._outcomes.empty()

    async def until(self, condition: str) -> None:
        """Return when an attribute of this stream is true."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not getattr(self, condition):
                self._arrived.clear()
                await self._arrived.wait()

    async def serve(
        self,
        requests: AsyncIterator[worker_service_pb2.WorkRequest],
        context: grpc.aio.ServicerContext[worker_service_pb2.WorkRequest, worker_service_pb2.WorkResponse],
    ) -> None:
        """Carry frames until the test ends the stream or the worker leaves."""
        reader = asyncio.create_task(self._read(requests))
        try:
            while (answer := await self._answers.get()) is not None:
                if isinstance(answer, grpc.StatusCode):
                    await context.abort(answer, "the test broke the stream")
                else:
                    await context.write(answer)
        finally:
            reader.cancel()
            self.ended.set()

    async def _read(self, requests: AsyncIterator[worker_service_pb2.WorkRequest]) -> None:
        async for frame in requests:
            if frame.HasField("hello"):
                self.hello.CopyFrom(frame.hello)
                self.said_hello = True
            self.credits += frame.credits
            self.draining = self.draining or frame.draining
            if frame.running:
                self.running.append(list(frame.running))
            self.empty_frames += not frame.SerializeToString()
            self.largest_frame = max(self.largest_frame, len(frame.outcomes))
            for report in frame.reports:
                self._reports.put_nowait(report)
            for outcome in frame.outcomes:
                self._outcomes.put_nowait(outcome)
            self._arrived.set()
        self._answers.put_nowait(None)


class Gateway(worker_service_pb2_grpc.WorkerServiceServicer):
    """Serves on a free port of this machine."""

    def __init__(self) -> None:
        self._streams: asyncio.Queue[Stream] = asyncio.Queue()
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", 32 * 1024 * 1024)])
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(self, self._server)
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        self.refuse_streams: grpc.StatusCode | None = None
        self.polls: asyncio.Queue[worker_service_pb2.PollTasksRequest] = asyncio.Queue()
        self.tasks: asyncio.Queue[worker_service_pb2.Task] = asyncio.Queue()
        self.responses: asyncio.Queue[worker_service_pb2.RespondTasksRequest] = asyncio.Queue()
        self.interrupts: list[worker_service_pb2.TaskInterrupt] = []
        self.request = worker_service_pb2.GetRequestResponse()
        self.completed: list[worker_service_pb2.CompleteOperationRequest] = []
        self.unary_lease_ms = 300
        self.unacknowledged = 0
        """So many answers acknowledge nothing."""

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        """Start."""
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop at once."""
        await self._server.stop(None)

    async def stream(self, *, lease_ms: int = 30_000, granted: bool = True) -> Stream:
        """Return the worker's next stream, opened, with its first credits if it has any to grant."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            stream = await self._streams.get()
        stream.open(lease_ms=lease_ms)
        await stream.until("credits" if granted else "said_hello")
        return stream

    async def Work(  # type: ignore[override] # noqa: N802
        self,
        request_iterator: Any,  # noqa: ANN401
        context: Any,  # noqa: ANN401
    ) -> None:
        """Serve a stream."""
        if self.refuse_streams is not None:
            await context.abort(self.refuse_streams, "no streams here")
        stream = Stream()
        self._streams.put_nowait(stream)
        await stream.serve(request_iterator, context)

    async def PollTasks(self, request: Any, context: Any) -> worker_service_pb2.PollTasksResponse:  # noqa: ANN401, N802
        """Return the next task."""
        self.polls.put_nowait(request)
        task = await self.tasks.get()
        return worker_service_pb2.PollTasksResponse(tasks=[task], lease_ms=self.unary_lease_ms)

    async def RespondTasks(self, request: Any, context: Any) -> worker_service_pb2.RespondTasksResponse:  # noqa: ANN401, N802
        """Acknowledge everything."""
        self.responses.put_nowait(request)
        if self.unacknowledged and (request.outcomes or request.reports):
            self.unacknowledged -= 1
            return worker_service_pb2.RespondTasksResponse()
        return worker_service_pb2.RespondTasksResponse(
            acks=[worker_service_pb2.OutcomeAck(task=outcome.task) for outcome in request.outcomes],
            report_acks=[worker_service_pb2.ReportAck(task=report.task) for report in request.reports],
            interrupts=self.interrupts,
        )

    async def ReadSignals(self, request: Any, context: Any) -> worker_service_pb2.ReadSignalsResponse:  # noqa: ANN401, N802
        """Refuse: these tests have no signals."""
        await context.abort(grpc.StatusCode.NOT_FOUND, "no signals here")
        raise AssertionError(request)

    async def GetRequest(self, request: Any, context: Any) -> worker_service_pb2.GetRequestResponse:  # noqa: ANN401, N802
        """Return the request that the test put here."""
        return self.request

    async def CompleteOperation(  # noqa: N802
        self,
        request: Any,  # noqa: ANN401
        context: Any,  # noqa: ANN401
    ) -> worker_service_pb2.CompleteOperationResponse:
        """Keep the completion."""
        self.completed.append(request)
        return worker_service_pb2.CompleteOperationResponse()


def _error(code: grpc.StatusCode | None, reason: str) -> bytes:
    """Return a serialized status; empty without a code."""
    if code is None:
        return b""
    status = status_pb2.Status(code=code.value[0], message="no")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="isthmus"))
    serialized: bytes = status.SerializeToString()
    return serialized


def start_task(request: Sealed, *, attempt: int = 1) -> worker_service_pb2.Task:
    """Make the task of a request."""
    return worker_service_pb2.Task(
        kind=worker_service_pb2.TASK_KIND_START,
        caller_namespace=request.header.sender_namespace,
        operation_id=request.header.operation_id,
        attempt=attempt,
        request=request.envelope,
    )


def task_ref(task: worker_service_pb2.Task) -> worker_service_pb2.TaskRef:
    """Refer to a task."""
    return worker_service_pb2.TaskRef(
        caller_namespace=task.caller_namespace,
        operation_id=task.operation_id,
        attempt=task.attempt,
        kind=task.kind,
    )
