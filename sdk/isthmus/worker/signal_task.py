"""A SIGNAL task: verify the caller's signal, open the operation token, call the handler's method for it.

As with a cancel, the token that this namespace sealed to itself says which request was really handled.
"""

import asyncio

import nexusrpc

from isthmus.payload.converter import PayloadConverter
from isthmus.payload.errors import PayloadConversionError
from isthmus.wire.names import format_operation_id
from isthmus.worker.answer import Answer
from isthmus.worker.answers import REJECTIONS, Answers
from isthmus.worker.cancel_task import open_token
from isthmus.worker.envelopes import RequestFacts, TaskEnvelopes
from isthmus.worker.handlers import OperationHandlers
from isthmus.worker.report import report_failure
from isthmus.worker.signal_handlers import SignalContext
from isthmus.worker.signals import signal_of
from isthmus.worker.tasks import RunningTask


class SignalTasks:
    """Runs SIGNAL tasks."""

    def __init__(
        self, *, envelopes: TaskEnvelopes, handlers: OperationHandlers, converter: PayloadConverter
    ) -> None:
        self._envelopes = envelopes
        self._answers = Answers(envelopes)
        self._handlers = handlers
        self._converter = converter

    async def run(self, running: RunningTask) -> Answer | None:
        """Return the answer, or None when the task was taken away."""
        try:
            request, token = await open_token(self._envelopes, running)
            running.opened = await self._envelopes.open_signal(running.task.signal, request=request)
            context = SignalContext(
                signal=signal_of(running.opened, self._converter),
                token=token,
                service=request.service,
                operation=request.operation,
                operation_id=format_operation_id(request.operation_id),
                caller_namespace=request.caller_namespace,
            )
            return await self._handle(running, request, context)
        except REJECTIONS as error:
            return self._answers.rejection(running, error)

    async def _handle(
        self, running: RunningTask, request: RequestFacts, context: SignalContext
    ) -> Answer | None:
        try:
            running.in_handler = True
            await self._handlers.signal(context)
        except asyncio.CancelledError:
            return None
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is its answer
            if not _is_final(error):
                report_failure(running, error, outcome="not signaled", advice="the signal is delivered again")
                return await self._answers.retry(running, request, error)
            report_failure(running, error, outcome="not signaled", advice="the signal is dropped")
        finally:
            running.in_handler = False
        outcome = running.outcome()
        outcome.signal_delivered.SetInParent()
        return Answer(outcome=outcome)


def _is_final(error: Exception) -> bool:
    if isinstance(error, nexusrpc.HandlerError):
        return not error.retryable
    return isinstance(error, nexusrpc.OperationError | PayloadConversionError)
