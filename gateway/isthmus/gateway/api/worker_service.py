# ruff: noqa: ARG002, N802 (gRPC names the methods and passes each a context)
"""The handler's side over gRPC: a thin adapter. Errors become statuses further out."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from isthmus.gateway.api.caller import current_principal
from isthmus.gateway.api.credential_expiry import CredentialExpiry
from isthmus.gateway.api.duplex import open_for_writing
from isthmus.gateway.api.handled_requests import HandledRequests
from isthmus.gateway.api.open_streams import OpenStreams
from isthmus.gateway.api.running_tasks import RunningTasks
from isthmus.gateway.api.signal_reads import SignalReads
from isthmus.gateway.api.task_outcomes import TaskOutcomes
from isthmus.gateway.api.task_reports import TaskReports
from isthmus.gateway.api.worker_hello import WorkerHellos
from isthmus.gateway.api.worker_polls import WorkerPolls
from isthmus.gateway.api.worker_stream import WorkerStream
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.gateway.dispatch.dispatcher import Dispatcher
from isthmus.gateway.dispatch.leases import Leases
from isthmus.v1 import worker_service_pb2, worker_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
FIRST_FRAME_SECONDS = 10.0


class WorkerService(worker_service_pb2_grpc.WorkerServiceServicer):
    """isthmus.v1.WorkerService."""

    def __init__(
        self,
        *,
        hellos: WorkerHellos,
        polls: WorkerPolls,
        outcomes: TaskOutcomes,
        reports: TaskReports,
        signal_reads: SignalReads,
        running: RunningTasks,
        requests: HandledRequests,
        dispatcher: Dispatcher,
        leases: Leases,
        streams: OpenStreams,
        expiry: CredentialExpiry,
    ) -> None:
        self._hellos = hellos
        self._polls = polls
        self._outcomes = outcomes
        self._reports = reports
        self._signal_reads = signal_reads
        self._running = running
        self._requests = requests
        self._dispatcher = dispatcher
        self._leases = leases
        self._streams = streams
        self._expiry = expiry

    # A coroutine that writes costs less for each message than the generator that the base class asks for.
    async def Work(  # type: ignore[override]
        self, request_iterator: AsyncIterator[worker_service_pb2.WorkRequest], context: Context
    ) -> None:
        """Carry tasks and outcomes in frames."""
        principal = current_principal()
        first = await _first_frame(request_iterator)
        session = await self._hellos.session(principal, first.hello)
        await open_for_writing(context)
        stream = WorkerStream(
            principal,
            session,
            dispatcher=self._dispatcher,
            leases=self._leases,
            outcomes=self._outcomes,
            reports=self._reports,
            signal_reads=self._signal_reads,
            running=self._running,
        )
        self._streams.add(stream)
        try:
            async with self._expiry.until_expiry(principal, drain=stream.drain):
                await stream.serve(first, request_iterator, context.write)
        finally:
            self._streams.discard(stream)

    async def PollTasks(
        self, request: worker_service_pb2.PollTasksRequest, context: Context
    ) -> worker_service_pb2.PollTasksResponse:
        """Take tasks."""
        return await self._polls.poll(current_principal(), request)

    async def RespondTasks(
        self, request: worker_service_pb2.RespondTasksRequest, context: Context
    ) -> worker_service_pb2.RespondTasksResponse:
        """Answer tasks."""
        return await self._polls.respond(current_principal(), request)

    async def ReadSignals(
        self, request: worker_service_pb2.ReadSignalsRequest, context: Context
    ) -> worker_service_pb2.ReadSignalsResponse:
        """Return signals of a running task."""
        seconds = request.wait_ms / 1000
        found = await self._signal_reads.look(current_principal(), request.read, seconds=seconds)
        return worker_service_pb2.ReadSignalsResponse(signals=found)

    async def GetRequest(
        self, request: worker_service_pb2.GetRequestRequest, context: Context
    ) -> worker_service_pb2.GetRequestResponse:
        """Fetch a sealed request."""
        return await self._requests.get(current_principal(), request)

    async def CompleteOperation(
        self, request: worker_service_pb2.CompleteOperationRequest, context: Context
    ) -> worker_service_pb2.CompleteOperationResponse:
        """End an asynchronous operation."""
        return await self._requests.complete(current_principal(), request)


async def _first_frame(
    frames: AsyncIterator[worker_service_pb2.WorkRequest],
) -> worker_service_pb2.WorkRequest:
    try:
        async with asyncio.timeout(FIRST_FRAME_SECONDS):
            return await anext(frames)
    except (TimeoutError, StopAsyncIteration):
        raise InvalidRequestError("the first frame has to say hello", reason="NO_HELLO") from None
