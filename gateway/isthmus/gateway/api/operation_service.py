# ruff: noqa: ARG002, N802 (gRPC names the methods and passes each a context)
"""Operations over gRPC: a thin adapter in front of the calls. Errors become statuses further out."""

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from isthmus.gateway.api.batched_starts import BatchedStarts
from isthmus.gateway.api.brief_statuses import BriefStatuses
from isthmus.gateway.api.caller import current_principal
from isthmus.gateway.api.credential_expiry import CredentialExpiry
from isthmus.gateway.api.duplex import open_for_writing
from isthmus.gateway.api.open_streams import OpenStreams
from isthmus.gateway.api.operation_calls import OperationCalls
from isthmus.gateway.api.operation_control import OperationControl
from isthmus.gateway.api.operation_listing import OperationListing
from isthmus.gateway.api.session_stream import SessionStream
from isthmus.v1 import operation_service_pb2, operation_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class OperationService(operation_service_pb2_grpc.OperationServiceServicer):
    """isthmus.v1.OperationService."""

    def __init__(
        self,
        *,
        calls: OperationCalls,
        listing: OperationListing,
        briefs: BriefStatuses,
        control: OperationControl,
        streams: OpenStreams,
        expiry: CredentialExpiry,
    ) -> None:
        self._calls = calls
        self._batches = BatchedStarts(calls)
        self._listing = listing
        self._briefs = briefs
        self._control = control
        self._streams = streams
        self._expiry = expiry

    async def StartOperation(
        self, request: operation_service_pb2.StartOperationRequest, context: Context
    ) -> operation_service_pb2.StartOperationResponse:
        """Start or attach."""
        return await self._calls.start(current_principal(), request)

    async def BatchStartOperations(
        self, request: operation_service_pb2.BatchStartOperationsRequest, context: Context
    ) -> operation_service_pb2.BatchStartOperationsResponse:
        """Start or attach, many times."""
        return await self._batches.start(current_principal(), request)

    async def ExecuteOperation(
        self, request: operation_service_pb2.ExecuteOperationRequest, context: Context
    ) -> operation_service_pb2.ExecuteOperationResponse:
        """Start and wait."""
        return await self._calls.execute(current_principal(), request)

    async def WaitOperation(
        self, request: operation_service_pb2.WaitOperationRequest, context: Context
    ) -> operation_service_pb2.WaitOperationResponse:
        """Wait."""
        return await self._calls.wait(current_principal(), request)

    async def BatchGetOperationStatuses(
        self, request: operation_service_pb2.BatchGetOperationStatusesRequest, context: Context
    ) -> operation_service_pb2.BatchGetOperationStatusesResponse:
        """Say where many operations are."""
        return await self._briefs.answer(current_principal(), request)

    async def GetOperation(
        self, request: operation_service_pb2.GetOperationRequest, context: Context
    ) -> operation_service_pb2.GetOperationResponse:
        """Show one operation."""
        return await self._calls.get(current_principal(), request)

    async def ListOperations(
        self, request: operation_service_pb2.ListOperationsRequest, context: Context
    ) -> operation_service_pb2.ListOperationsResponse:
        """Show a page of operations."""
        return await self._listing.page(current_principal(), request)

    async def GetProgress(
        self, request: operation_service_pb2.GetProgressRequest, context: Context
    ) -> operation_service_pb2.GetProgressResponse:
        """Show progress."""
        return await self._calls.progress.get(current_principal(), request)

    async def CancelOperation(
        self, request: operation_service_pb2.CancelOperationRequest, context: Context
    ) -> operation_service_pb2.CancelOperationResponse:
        """Ask to cancel."""
        return await self._calls.cancel(current_principal(), request)

    async def SignalOperation(
        self, request: operation_service_pb2.SignalOperationRequest, context: Context
    ) -> operation_service_pb2.SignalOperationResponse:
        """Send a signal."""
        return await self._calls.signal(current_principal(), request)

    async def RedriveOperation(
        self, request: operation_service_pb2.RedriveOperationRequest, context: Context
    ) -> operation_service_pb2.RedriveOperationResponse:
        """Give a parked operation new attempts."""
        return await self._control.redrive(current_principal(), request)

    async def RedriveOperations(
        self, request: operation_service_pb2.RedriveOperationsRequest, context: Context
    ) -> operation_service_pb2.RedriveOperationsResponse:
        """Give a page of parked operations new attempts."""
        return await self._control.redrive_page(current_principal(), request)

    async def TerminateOperation(
        self, request: operation_service_pb2.TerminateOperationRequest, context: Context
    ) -> operation_service_pb2.TerminateOperationResponse:
        """End an operation by force."""
        return await self._control.terminate(current_principal(), request)

    # A coroutine that writes costs less for each message than the generator that the base class asks for.
    async def Session(  # type: ignore[override]
        self, request_iterator: AsyncIterator[operation_service_pb2.SessionRequest], context: Context
    ) -> None:
        """Carry calls in frames."""
        principal = current_principal()
        stream = SessionStream(self._calls, principal)
        await open_for_writing(context)
        self._streams.add(stream)
        try:
            async with self._expiry.until_expiry(principal, drain=stream.drain):
                await stream.serve(request_iterator, context.write)
        finally:
            self._streams.discard(stream)
