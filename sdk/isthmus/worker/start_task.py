"""A START task: open the request, run the handler, seal what comes of it."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import nexusrpc
from nexusrpc.handler import StartOperationContext, StartOperationResultAsync

from isthmus.blobs.claim_checks import Content
from isthmus.blobs.file import File
from isthmus.envelope.errors import EnvelopeRejectedError, KeyUnavailableError, RejectionReason
from isthmus.envelope.open import Opened
from isthmus.payload.converter import BYTES, PayloadConverter
from isthmus.payload.errors import PayloadConversionError
from isthmus.payload.jsonable import type_name
from isthmus.payload.payload import Payload
from isthmus.wire import limits
from isthmus.wire.header import Direction
from isthmus.wire.names import format_operation_id
from isthmus.worker.answer import Answer
from isthmus.worker.answers import REJECTIONS, Answers
from isthmus.worker.context import TaskContext, enter
from isthmus.worker.envelopes import RequestFacts, TaskEnvelopes, facts_of
from isthmus.worker.handlers import OperationHandlers
from isthmus.worker.large_payloads import LargePayloads
from isthmus.worker.report import report_forged_cancel, report_lost_details
from isthmus.worker.reporter import Reporter
from isthmus.worker.reports import Reports
from isthmus.worker.signal_reads import SignalReads
from isthmus.worker.signals import Signals
from isthmus.worker.tasks import RunningTask, Stop

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# How long a handler's error waits for the last report of its attempt.
LAST_REPORT_SECONDS = 2.0


class StartTasks:
    """Runs START tasks."""

    def __init__(
        self,
        *,
        envelopes: TaskEnvelopes,
        handlers: OperationHandlers,
        converter: PayloadConverter,
        large_payloads: LargePayloads,
        reports: Reports,
        signal_reads: SignalReads,
        task_queue: str,
        endpoints: Collection[str] | None,
    ) -> None:
        """Accept requests on ``endpoints`` only, if they are given."""
        self._envelopes = envelopes
        self._answers = Answers(envelopes)
        self._handlers = handlers
        self._converter = converter
        self._large = large_payloads
        self._reports = reports
        self._signal_reads = signal_reads
        self._task_queue = task_queue
        self._endpoints = None if endpoints is None else frozenset(endpoints)

    async def run(self, running: RunningTask) -> Answer | None:
        """Return the answer, or None when the task was taken away."""
        try:
            caller_namespace, operation_id, _ = running.key
            opened = await self._envelopes.open_request(
                running.task.request,
                caller_namespace=caller_namespace,
                operation_id=operation_id,
                task_queue=self._task_queue,
            )
            if self._endpoints is not None and opened.header.endpoint not in self._endpoints:
                raise EnvelopeRejectedError(RejectionReason.ENDPOINT)
            running.opened = opened
            request = facts_of(opened.header, opened.digest)
            for cancel in running.interrupts:
                await self.interrupt(running, cancel)
            return await self._received(running, opened, request)
        except REJECTIONS as error:
            return self._answers.rejection(running, error)
        finally:
            self._reports.forget(running)
            running.over = True
            if running.inbox is not None:
                self._signal_reads.forget(running, running.inbox)

    async def interrupt(self, running: RunningTask, cancel: bytes) -> None:
        """Stop the handler if its caller asks for it; what does not verify is ignored."""
        if running.opened is None:
            return
        try:
            request = facts_of(running.opened.header, running.opened.digest)
            await self._envelopes.open_cancel(cancel, request=request)
        except REJECTIONS as error:
            report_forged_cancel(running, error)
        else:
            running.interrupt(Stop.CANCELED)

    async def _received(self, running: RunningTask, opened: Opened, request: RequestFacts) -> Answer | None:
        """Get what the request stands for, and keep it as long as the handler and its result need it."""
        payload = opened.payload
        input_type = self._handlers.input_type(request.service, request.operation)
        if not self._large.must_receive(payload, input_type):
            return await self._handle(running, opened, request, payload)
        try:
            content = await self._large.receive(payload, input_type, request=request)
        except nexusrpc.HandlerError as error:
            return await self._answers.error(running, request, error)
        try:
            return await self._handle(running, opened, request, content)
        finally:
            if isinstance(content, File):
                content.close()

    async def _handle(
        self, running: RunningTask, opened: Opened, request: RequestFacts, content: Content
    ) -> Answer | None:
        if running.stop is Stop.CANCELED:
            return await self._answers.error(running, request, _canceled())
        if running.was_taken_away():
            return None
        header = opened.header
        details = await self._details(running, request)
        context = self._enter(running, opened, request, details)
        try:
            running.in_handler = self._handlers.is_interruptible(header.service, header.operation)
            result = await self._handlers.start(context, content)
            running.in_handler = False
            if running.was_taken_away():
                return None
            direction = Direction.RESULT
            if isinstance(result, StartOperationResultAsync):
                direction, payload = Direction.STARTED, _token_payload(result.token)
            else:
                payload = await self._large.send(self._result(result.value), request=request)
                if running.was_taken_away():
                    return None
        except asyncio.CancelledError:
            running.in_handler = False
            return await self._after_cancellation(running, request)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its answer
            running.in_handler = False
            if running.was_taken_away():
                return None
            await self._flush(running)
            return await self._answers.error(running, request, error)
        return await self._answers.value(running, request, direction, payload)

    async def _after_cancellation(self, running: RunningTask, request: RequestFacts) -> Answer | None:
        if running.stop is None:
            # Nobody canceled the task from outside: something inside the handler was canceled and not caught.
            inside = nexusrpc.HandlerError(
                "something that the handler awaited was canceled", type=nexusrpc.HandlerErrorType.INTERNAL
            )
            return await self._answers.error(running, request, inside)
        if running.job is not None:
            running.job.uncancel()
        if running.stop is Stop.CANCELED:
            return await self._answers.error(running, request, _canceled())
        return None

    async def _details(self, running: RunningTask, request: RequestFacts) -> Payload | None:
        """Return the heartbeat details of an earlier attempt; without its key the handler starts over."""
        details = running.task.details
        if not details:
            return None
        try:
            return await self._envelopes.open_details(details, request=request, attempt=running.task.attempt)
        except KeyUnavailableError as error:
            if not error.permanent:
                raise
            report_lost_details(running, error)
            return None

    async def _flush(self, running: RunningTask) -> None:
        """Let the last report of an attempt that failed arrive: the next one begins with it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_REPORT_SECONDS):
                await self._reports.flush(running)

    def _enter(
        self, running: RunningTask, opened: Opened, request: RequestFacts, details: Payload | None
    ) -> StartOperationContext:
        header = opened.header
        operation_id = format_operation_id(header.operation_id)
        deadline = _EPOCH + (header.issued_at_ms + header.schedule_to_close_timeout_ms) * _MILLISECOND
        attempt = running.attempt

        def context() -> TaskContext:
            inbox = running.open_inbox()
            return TaskContext(
                caller_namespace=header.sender_namespace,
                caller_principal=header.principal,
                endpoint=header.endpoint,
                service=header.service,
                operation=header.operation,
                operation_id=operation_id,
                labels=dict(header.labels),
                deadline=deadline,
                attempt=attempt,
                task_queue=self._task_queue,
                _reporter=Reporter(
                    report=partial(self._reports.report, running, request),
                    details=details,
                    converter=self._converter,
                ),
                _signals=Signals(inbox, partial(self._signal_reads.begin, running, request, inbox)),
            )

        enter(context)
        return StartOperationContext(
            service=header.service,
            operation=header.operation,
            headers=dict(opened.payload.headers),
            task_cancellation=running.cancellation,
            request_deadline=deadline,
            request_id=operation_id,
        )

    def _result(self, value: object) -> Content:
        if isinstance(value, File):
            return value
        try:
            return self._converter.to_payload(value)
        except PayloadConversionError as error:
            # A converter of somebody else's may not say it.
            error.type_name = error.type_name or type_name(type(value))
            # The handler has done its work; to run it again would make the same value.
            raise nexusrpc.HandlerError(
                f"the result cannot be serialized: {error}",
                type=nexusrpc.HandlerErrorType.INTERNAL,
                retryable_override=False,
            ) from error


def _canceled() -> nexusrpc.OperationError:
    return nexusrpc.OperationError(
        "the operation was canceled by its caller", state=nexusrpc.OperationErrorState.CANCELED
    )


def _token_payload(token: str) -> Payload:
    data = token.encode()
    if not 0 < len(data) <= limits.MAX_OPERATION_TOKEN_BYTES:
        raise nexusrpc.HandlerError(
            f"the operation token is {len(data)} bytes; 1 to {limits.MAX_OPERATION_TOKEN_BYTES} are allowed",
            type=nexusrpc.HandlerErrorType.INTERNAL,
            retryable_override=False,
        )
    return Payload(content_type=BYTES, data=data)
