"""A CANCEL task: verify the caller's cancel, open the operation token, call the handler's cancel with it.

The token was sealed by this namespace to itself and carries the digest of the request that was really
handled. The request that comes with the task has to have that digest, so its header says who may cancel. It
is not opened again: it may have expired long ago.
"""

import asyncio

import nexusrpc
from nexusrpc.handler import CancelOperationContext

from isthmus.envelope.errors import EnvelopeRejectedError, RejectionReason
from isthmus.envelope.open import Opened
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.errors import WireFormatError
from isthmus.worker.answer import Answer
from isthmus.worker.answers import REJECTIONS, Answers
from isthmus.worker.envelopes import RequestFacts, TaskEnvelopes, facts_of
from isthmus.worker.handlers import OperationHandlers
from isthmus.worker.report import report_failure
from isthmus.worker.tasks import RunningTask


class CancelTasks:
    """Runs CANCEL tasks."""

    def __init__(self, *, envelopes: TaskEnvelopes, handlers: OperationHandlers) -> None:
        self._envelopes = envelopes
        self._answers = Answers(envelopes)
        self._handlers = handlers

    async def run(self, running: RunningTask) -> Answer | None:
        """Return the answer, or None when the task was taken away."""
        try:
            request, token = await open_token(self._envelopes, running)
            running.opened = await self._envelopes.open_cancel(running.task.cancel, request=request)
            return await self._handle(running, request, token)
        except REJECTIONS as error:
            return self._answers.rejection(running, error)

    async def _handle(self, running: RunningTask, request: RequestFacts, token: str) -> Answer | None:
        context = CancelOperationContext(
            service=request.service,
            operation=request.operation,
            headers=dict(running.opened.payload.headers) if running.opened is not None else {},
            task_cancellation=running.cancellation,
        )
        try:
            running.in_handler = True
            await self._handlers.cancel(context, token)
        except asyncio.CancelledError:
            return None
        except (nexusrpc.OperationError, NotImplementedError) as error:
            report_failure(running, error, outcome="not canceled", advice="the operation goes on")
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its answer
            if not isinstance(error, nexusrpc.HandlerError) or error.retryable:
                report_failure(running, error, outcome="not canceled", advice="the cancel is delivered again")
                return await self._answers.retry(running, request, error)
            report_failure(running, error, outcome="not canceled", advice="the operation goes on")
        finally:
            running.in_handler = False
        outcome = running.outcome()
        outcome.cancel_delivered.SetInParent()
        return Answer(outcome=outcome)


async def open_token(envelopes: TaskEnvelopes, running: RunningTask) -> tuple[RequestFacts, str]:
    """Return what the operation of a task was asked, and its token. Raises REJECTIONS."""
    task = running.task
    request = _facts(task.request)
    if request.caller_namespace != task.caller_namespace:
        raise EnvelopeRejectedError(RejectionReason.SENDER)
    started = await envelopes.open_started(task.started, request=request)
    return request, _token(started)


def _facts(request: bytes) -> RequestFacts:
    """Read a request that is only believed once the operation token has confirmed its digest."""
    try:
        envelope = parse_envelope(request)
    except WireFormatError:
        raise EnvelopeRejectedError(RejectionReason.MALFORMED) from None
    return facts_of(envelope.header, envelope.digest)


def _token(started: Opened) -> str:
    try:
        return started.payload.data.decode()
    except UnicodeDecodeError:
        raise EnvelopeRejectedError(RejectionReason.INNER) from None
