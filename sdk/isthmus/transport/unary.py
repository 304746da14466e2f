"""The calls of a session as unary RPCs: for the sync stack, and where streams do not work."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import grpc

from isthmus.transport.backoff import Backoff
from isthmus.transport.connection import Connection, SyncConnection
from isthmus.transport.errors import (
    DeadlineExceededError,
    GatewayError,
    GatewayInternalError,
    UnsupportedError,
)
from isthmus.transport.repeating import Repeating
from isthmus.transport.status import error_from_status
from isthmus.v1 import operation_service_pb2, operation_service_pb2_grpc

ATTEMPT_SECONDS: Final = 75.0
"""Longest single RPC: more than the gateway's longest wait, so that only a dead connection reaches it."""

_METHODS: Final = {
    "start": "StartOperation",
    "execute": "ExecuteOperation",
    "wait": "WaitOperation",
    "cancel": "CancelOperation",
    "get": "GetOperation",
    "progress": "GetProgress",
    "signal": "SignalOperation",
}


Start = operation_service_pb2.StartOperationRequest
Response = operation_service_pb2.StartOperationResponse
Started = Response | GatewayError


async def call_unary(
    stub: object,
    connection: Connection,
    call: operation_service_pb2.SessionCall,
) -> operation_service_pb2.SessionReply:
    """Make one call of a session as a unary RPC of the stub, once. Raises GatewayError."""
    kind, request = _take_apart(call)
    method = getattr(stub, _METHODS[kind])
    response = await connection.call(method, request, timeout_seconds=ATTEMPT_SECONDS)
    return _reply(kind, response)


class UnarySession:
    """The calls of one sync client. Thread-safe; needs no event loop; usable after a fork.

    Args:
        connection: the connection; the session does not close it.
        backoff: between the attempts of a call.
        randomness: uniform in [0, 1).
        monotonic: seconds.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        connection: SyncConnection,
        *,
        backoff: Backoff | None = None,
        randomness: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._backoff = backoff or Backoff()
        self._randomness = randomness
        self._monotonic = monotonic
        self._sleep = sleep
        self._repeating = Repeating(monotonic=monotonic)
        # Making a stub costs more than a call; it belongs to its channel, and a fork makes another one.
        self._stub: tuple[grpc.Channel, object] | None = None

    def call(
        self, call: operation_service_pb2.SessionCall, *, timeout_seconds: float, size_bytes: int = 0
    ) -> operation_service_pb2.SessionReply:
        """Make one call, repeated with the same bytes while that makes sense and time is left.

        Raises:
            GatewayError: the gateway refused, or no answer came in time (DeadlineExceededError).
            ClientClosedError: the client is closed.
        """
        del size_bytes  # there are no frames to keep small
        kind, request = _take_apart(call)
        name = _METHODS[kind]
        deadline = self._monotonic() + timeout_seconds
        attempt = 0
        while True:
            left = deadline - self._monotonic()
            try:
                response = self._connection.call(
                    lambda channel: self._method(channel, name),
                    request,
                    timeout_seconds=min(max(left, 0.001), ATTEMPT_SECONDS),
                )
                return _reply(kind, response)
            except GatewayError as error:
                attempt += 1
                delay = self._backoff.delay_seconds(
                    attempt, self._randomness(), at_least_seconds=error.retry_after_seconds
                )
                if not _is_repeated(error):
                    raise error.of_operation() from None
                if self._monotonic() + delay >= deadline:
                    raise self._late(timeout_seconds, error).of_operation() from error
                self._repeating.note(error, attempt=attempt)
                self._sleep(delay)

    def start_all(self, starts: Sequence[Start], timeout_seconds: float) -> list[Started]:
        """Make starts in one call; each is repeated, and answered or refused, for itself.

        Starts that the answer had no room for are made again at once: they attach.

        Raises:
            ClientClosedError: the client is closed.
        """
        deadline = self._monotonic() + timeout_seconds
        answers: dict[int, Started] = {}
        left = dict(enumerate(starts))
        attempt = 0
        while left:
            answered = self._start_together(left, deadline)
            answers |= answered
            again = [
                (number, answer)
                for number, answer in answered.items()
                if isinstance(answer, GatewayError) and _is_repeated(answer)
            ]
            left = {number: start for number, start in left.items() if number not in answered} | {
                number: left[number] for number, _ in again
            }
            if again:
                attempt += 1
                asked = max(error.retry_after_seconds or 0.0 for _, error in again)
                delay = self._backoff.delay_seconds(attempt, self._randomness(), at_least_seconds=asked)
                if self._monotonic() + delay >= deadline:
                    break
                for _, error in again:
                    self._repeating.note(error, attempt=attempt)
                self._sleep(delay)
        for number in left:
            answers[number] = self._late(timeout_seconds, answers.get(number))
        for answer in answers.values():
            if isinstance(answer, GatewayError):
                answer.of_operation()
        return [answers[number] for number in range(len(starts))]

    def _start_together(self, starts: Mapping[int, Start], deadline: float) -> dict[int, Started]:
        """Make one call, once; return the answers that it had room for, one at least."""
        left_seconds = max(deadline - self._monotonic(), 0.001)
        request = operation_service_pb2.BatchStartOperationsRequest(starts=starts.values())
        try:
            response: operation_service_pb2.BatchStartOperationsResponse = self._connection.call(
                lambda channel: self._method(channel, "BatchStartOperations"),
                request,
                timeout_seconds=min(left_seconds, ATTEMPT_SECONDS),
            )
        except UnsupportedError:
            # An older gateway.
            return {number: self._start_alone(start, left_seconds) for number, start in starts.items()}
        except GatewayError as error:
            return dict.fromkeys(starts, error)
        if not 0 < len(response.answers) <= len(starts):
            problem = GatewayInternalError(f"{len(starts)} starts have {len(response.answers)} answers")
            return dict.fromkeys(starts, problem)
        return {
            number: Response(status=answer.status)
            if answer.WhichOneof("answer") == "status"
            else error_from_status(answer.error)
            for number, answer in zip(starts, response.answers, strict=False)
        }

    def _start_alone(self, start: Start, timeout_seconds: float) -> Started:
        call = operation_service_pb2.SessionCall(start=start)
        try:
            return self.call(call, timeout_seconds=timeout_seconds).start
        except GatewayError as error:
            return error

    def _late(self, timeout_seconds: float, error: object) -> DeadlineExceededError:
        address = self._connection.settings.address
        return DeadlineExceededError(f"no answer from {address} within {timeout_seconds:g} s (last: {error})")

    def _method(self, channel: grpc.Channel, name: str) -> Any:  # noqa: ANN401 - they differ by name
        made = self._stub
        if made is None or made[0] is not channel:
            made = self._stub = channel, operation_service_pb2_grpc.OperationServiceStub(channel)
        return getattr(made[1], name)


def _is_repeated(error: GatewayError) -> bool:
    # An attempt that ran out of its own time is repeated like a lost connection.
    return error.retryable or isinstance(error, DeadlineExceededError)


def _take_apart(call: operation_service_pb2.SessionCall) -> tuple[str, Any]:
    kind = call.WhichOneof("call")
    if kind is None or kind not in _METHODS:
        msg = "a session call asks for something"
        raise ValueError(msg)
    return kind, getattr(call, kind)


def _reply(kind: str, response: Any) -> operation_service_pb2.SessionReply:  # noqa: ANN401
    reply = operation_service_pb2.SessionReply()
    getattr(reply, kind).CopyFrom(response)
    return reply
