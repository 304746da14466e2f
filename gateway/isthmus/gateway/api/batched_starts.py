"""Many starts in one call, each with its own answer: for those who have no stream."""

import asyncio
from collections.abc import Sequence

from isthmus.gateway.api.operation_calls import OperationCalls
from isthmus.gateway.api.started_calls import MAX_STARTS_PER_COMMIT
from isthmus.gateway.api.status import status_bytes
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.start_operation import StartOperation, StartResult
from isthmus.gateway.core.errors import InvalidRequestError
from isthmus.v1 import operation_service_pb2
from isthmus.wire import limits

MOST_STARTS = MAX_STARTS_PER_COMMIT
# An answer may exceed this by one status, which is at most one envelope and its proof large.
MOST_BYTES_ANSWERED = limits.MAX_FRAME_BYTES - 2 * limits.MAX_ENVELOPE_BYTES

Answer = operation_service_pb2.StartAnswer


class BatchedStarts:
    """Starts what the caller's side sends together. Lives on the event loop."""

    def __init__(self, calls: OperationCalls) -> None:
        self._calls = calls

    async def start(
        self, principal: Principal, request: operation_service_pb2.BatchStartOperationsRequest
    ) -> operation_service_pb2.BatchStartOperationsResponse:
        """Start operations or attach to them; each answer means durable.

        The answers are those to the first starts, as many as there is room for: an operation that has ended
        comes with its outcome. The others have begun, too.

        Raises:
            InvalidRequestError: there are none, or too many.
            GatewayError: the store is closed or overloaded; nothing is started.
        """
        if not 0 < len(request.starts) <= MOST_STARTS:
            raise InvalidRequestError(
                f"one call starts 1 to {MOST_STARTS} operations",
                reason="BATCH_SIZE",
                fix="start the others in another call",
            )
        admitted = [await self._admit(principal, start) for start in request.starts]
        outcomes = await self._commit([start for start in admitted if isinstance(start, StartOperation)])
        committed = iter(outcomes)
        results = [next(committed) if isinstance(start, StartOperation) else start for start in admitted]
        response = operation_service_pb2.BatchStartOperationsResponse()
        answered_bytes = 0
        for result in results:
            answer = await self._answer(result)
            response.answers.append(answer)
            answered_bytes += answer.ByteSize()
            if answered_bytes > MOST_BYTES_ANSWERED:
                break
        return response

    async def _admit(
        self, principal: Principal, start: operation_service_pb2.StartOperationRequest
    ) -> StartOperation | BaseException:
        try:
            return await self._calls.admit(principal, start)
        except Exception as error:  # noqa: BLE001 - whatever it is becomes the answer to this start
            return error

    async def _commit(self, starts: Sequence[StartOperation]) -> Sequence[StartResult | BaseException]:
        # Cancelled or not, what is submitted is committed, and delivered to workers that wait.
        return await asyncio.shield(self._calls.start_all(starts)) if starts else ()

    async def _answer(self, result: StartResult | BaseException) -> Answer:
        if not isinstance(result, StartResult):
            return Answer(error=status_bytes(result))
        answer = Answer()
        try:
            snapshot = await self._calls.after_start(result)
            self._calls.statuses.fill(answer.status, snapshot, attached=result.attached)
        except Exception as error:  # noqa: BLE001 - whatever it is becomes the answer to this start
            return Answer(error=status_bytes(error))
        return answer
