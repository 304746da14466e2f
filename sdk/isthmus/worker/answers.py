"""What comes of a task, sealed for the caller, or a bare code when there is nobody to trust."""

from functools import partial

import nexusrpc

from isthmus.blobs.claim_checks import HOW_TO_CONFIGURE
from isthmus.envelope.errors import (
    BodyTooLargeError,
    EnvelopeRejectedError,
    KeyUnavailableError,
    NeverSealError,
)
from isthmus.payload.failures import failure_payload
from isthmus.payload.payload import Payload
from isthmus.wire.header import Direction
from isthmus.worker.answer import Answer, rejected
from isthmus.worker.envelopes import RequestFacts, TaskEnvelopes
from isthmus.worker.errors import UntrustedNamespaceError
from isthmus.worker.report import report_failure, report_rejection
from isthmus.worker.tasks import RunningTask

REJECTIONS = (EnvelopeRejectedError, KeyUnavailableError, UntrustedNamespaceError)

Refusal = EnvelopeRejectedError | KeyUnavailableError | UntrustedNamespaceError


class Answers:
    """Makes the answers to tasks."""

    def __init__(self, envelopes: TaskEnvelopes) -> None:
        self._envelopes = envelopes

    async def value(
        self, running: RunningTask, request: RequestFacts, direction: Direction, payload: Payload
    ) -> Answer:
        """Answer with a RESULT or STARTED. Raises REJECTIONS when it cannot be sealed."""
        try:
            return await self._ending(running, request, direction, payload)
        except NeverSealError as error:
            # It would be as large the next time.
            advice = f"; {HOW_TO_CONFIGURE}" if isinstance(error, BodyTooLargeError) else ""
            too_large = nexusrpc.HandlerError(
                f"the result cannot be sealed: {error}{advice}",
                type=nexusrpc.HandlerErrorType.INTERNAL,
                retryable_override=False,
            )
            return await self.error(running, request, too_large)

    async def error(self, running: RunningTask, request: RequestFacts, error: BaseException) -> Answer:
        """Answer with what the handler raised. Raises REJECTIONS when it cannot be sealed.

        OperationErrors and HandlerErrors that are not retryable end the operation. Everything else is tried
        again; what is no Nexus error counts as INTERNAL.
        """
        if isinstance(error, nexusrpc.OperationError):
            canceled = error.state is nexusrpc.OperationErrorState.CANCELED
            direction = Direction.CANCELED if canceled else Direction.FAILURE
            report_failure(running, error, outcome=error.state.value, advice="the operation ended")
            return await self._ending(running, request, direction, failure_payload(error))
        if isinstance(error, nexusrpc.HandlerError) and not error.retryable:
            report_failure(
                running, error, outcome="failed", advice="the operation ended, without another try"
            )
            return await self._ending(running, request, Direction.FAILURE, failure_payload(error))
        report_failure(running, error, outcome="failed", advice="the gateway tries it again")
        return await self.retry(running, request, error)

    async def retry(self, running: RunningTask, request: RequestFacts, error: BaseException) -> Answer:
        """Ask for another attempt. Raises REJECTIONS when the reason cannot be sealed."""
        known = error.type if isinstance(error, nexusrpc.HandlerError) else nexusrpc.HandlerErrorType.INTERNAL
        payload = failure_payload(error)
        envelope = await self._envelopes.seal(Direction.FAILURE, payload, request=request)
        outcome = running.outcome()
        outcome.retry.envelope = envelope
        outcome.retry.error_type = known.value
        return Answer(
            outcome=outcome,
            seal_again=partial(
                self._envelopes.seal, Direction.FAILURE, payload, request=request, newest_keys=True
            ),
        )

    def rejection(self, running: RunningTask, error: Refusal) -> Answer:
        """Answer that an envelope was refused, without saying why."""
        report_rejection(running, error)
        missing = isinstance(error, KeyUnavailableError)
        code = KeyUnavailableError.code if missing else EnvelopeRejectedError.code
        return rejected(running.outcome(), code)

    async def _ending(
        self, running: RunningTask, request: RequestFacts, direction: Direction, payload: Payload
    ) -> Answer:
        envelope = await self._envelopes.seal(direction, payload, request=request)
        outcome = running.outcome()
        outcome.envelope = envelope
        if direction is Direction.STARTED:
            outcome.token_key = self._envelopes.token_key(payload.data)
        return Answer(
            outcome=outcome,
            seal_again=partial(self._envelopes.seal, direction, payload, request=request, newest_keys=True),
        )
