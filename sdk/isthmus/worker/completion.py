"""End an asynchronous operation from any process of the handler's namespace, days later if need be.

The request is fetched and its signature verified first: the outcome is sealed to the namespace that signed
it, for that operation, under that digest. An operation that is found by its token has to show the token as
this namespace sealed it to itself. What the gateway says beside it is not believed.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import nexusrpc

from isthmus.blobs.claim_checks import Content
from isthmus.blobs.file import File
from isthmus.envelope.errors import (
    EnvelopeRejectedError,
    KeyUnavailableError,
    NeverSealError,
    RejectionReason,
)
from isthmus.payload.failures import failure_payload
from isthmus.transport.backoff import Backoff
from isthmus.transport.errors import GatewayError, NotFoundError, PreconditionFailedError
from isthmus.v1 import worker_service_pb2
from isthmus.wire.header import Direction
from isthmus.wire.limits import MAX_OPERATION_TOKEN_BYTES
from isthmus.wire.names import OperationId, parse_operation_id
from isthmus.worker.envelopes import RequestFacts, TaskEnvelopes
from isthmus.worker.errors import CompletionRefusedError
from isthmus.worker.large_payloads import LargePayloads

CALL_SECONDS = 10.0
REPEAT = Backoff(initial_seconds=0.2, maximum_seconds=5.0)
DEFAULT_TIMEOUT = timedelta(seconds=30)

Request = TypeVar("Request")
Response = TypeVar("Response")


class Calls(Protocol):
    """Makes single calls, and waits between them."""

    def now(self) -> float:
        """Return the time in seconds, of a clock that only goes forward."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait."""
        ...

    async def get_request(
        self, request: worker_service_pb2.GetRequestRequest
    ) -> worker_service_pb2.GetRequestResponse:
        """Fetch a request. Raises GatewayError."""
        ...

    async def complete_operation(
        self, request: worker_service_pb2.CompleteOperationRequest
    ) -> worker_service_pb2.CompleteOperationResponse:
        """Record an outcome. Raises GatewayError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The operation to end: by its id, or by the token that its handler returned."""

    operation_id: OperationId | None
    token: bytes = field(repr=False)
    caller_namespace: str

    @classmethod
    def of(cls, operation_id: str | None, token: str | None, caller_namespace: str | None) -> "Wanted":
        """Read what a caller names.

        Raises:
            ValueError: not exactly one of id and token is given, an id comes without its caller, or the token
                can be none.
            WireFormatError: the operation id is malformed.
        """
        if (operation_id is None) == (token is None):
            raise ValueError("pass an operation id or token=, one of them")
        if operation_id is not None and not caller_namespace:
            # Ids are unique within a namespace: another caller may use the same one, to get this outcome.
            raise ValueError("an operation id needs the caller_namespace that it was started by")
        data = b"" if token is None else token.encode()
        if token is not None and not 0 < len(data) <= MAX_OPERATION_TOKEN_BYTES:
            raise ValueError(f"an operation token is 1 to {MAX_OPERATION_TOKEN_BYTES} bytes")
        return cls(
            operation_id=None if operation_id is None else parse_operation_id(operation_id),
            token=data,
            caller_namespace=caller_namespace or "",
        )


class Completion:
    """Ends operations; async and sync processes run the same steps."""

    def __init__(self, *, envelopes: TaskEnvelopes, large: LargePayloads, calls: Calls) -> None:
        self._envelopes = envelopes
        self._large = large
        self._calls = calls

    async def run(
        self, wanted: Wanted, shown: str, direction: Direction, content: Content, *, patience: timedelta
    ) -> None:
        """Fetch the request, verify it, seal the outcome for who signed it, and have it recorded.

        Raises as ``isthmus.worker.complete`` does.
        """
        until = self._calls.now() + patience.total_seconds()
        try:
            request = await self._request(wanted, until)
            payload = await self._large.send(content, request=request)
            envelope = await self._envelopes.seal(direction, payload, request=request)
            completion = worker_service_pb2.CompleteOperationRequest(
                caller_namespace=request.caller_namespace,
                operation_id=request.operation_id,
                envelope=envelope,
            )
            await self._repeat(lambda: self._calls.complete_operation(completion), until)
        except EnvelopeRejectedError as rejected:
            raise CompletionRefusedError(
                f"the request of {shown} cannot be verified (check {rejected.reason} failed);"
                " nothing was sent"
            ) from None
        except (KeyUnavailableError, NeverSealError) as unsealed:
            raise CompletionRefusedError(f"{shown} cannot be completed: {unsealed}") from None
        except (NotFoundError, PreconditionFailedError) as gone:
            raise CompletionRefusedError(f"{shown} has ended already, or is not known: {gone}") from None

    async def _request(self, wanted: Wanted, until: float) -> RequestFacts:
        fetch = worker_service_pb2.GetRequestRequest(caller_namespace=wanted.caller_namespace)
        if wanted.operation_id is None:
            fetch.token_key = self._envelopes.token_key(wanted.token)
        else:
            fetch.operation_id = wanted.operation_id
        # A token may come here sooner than the start that returned it comes to the gateway.
        patient = wanted.operation_id is None
        fetched = await self._repeat(lambda: self._calls.get_request(fetch), until, not_found_passes=patient)
        request = await self._envelopes.verify_request(
            fetched.request,
            caller_namespace=wanted.caller_namespace or None,
            operation_id=wanted.operation_id or fetched.operation_id,
        )
        if wanted.operation_id is None:
            started = await self._envelopes.open_started(fetched.started, request=request)
            if started.payload.data != wanted.token:
                raise EnvelopeRejectedError(RejectionReason.INNER)
        return request

    async def _repeat(
        self, call: "Callable[[], Any]", until: float, *, not_found_passes: bool = False
    ) -> Any:  # noqa: ANN401 - what the call returns
        """Repeat a call, the same bytes, while the gateway cannot be reached."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await call()
            except GatewayError as failed:
                wait = REPEAT.delay_seconds(
                    attempt,
                    random.random(),  # noqa: S311 - jitter
                    at_least_seconds=failed.retry_after_seconds,
                )
                passes = failed.retryable or (not_found_passes and isinstance(failed, NotFoundError))
                if not passes or self._calls.now() + wait > until:
                    raise
            await self._calls.pause(wait)


def ending_of(
    result: object, error: BaseException | None, to_payload: Callable[[object], Content]
) -> tuple[Direction, Content]:
    """Return how an operation ends: with a result, or with an error.

    Raises:
        ValueError: with both.
        PayloadConversionError: the result has a type that cannot be serialized.
    """
    if error is None:
        return Direction.RESULT, result if isinstance(result, File) else to_payload(result)
    if result is not None:
        raise ValueError("an operation ends with a result or with an error, not with both")
    canceled = isinstance(error, nexusrpc.OperationError) and error.state is _CANCELED
    return Direction.CANCELED if canceled else Direction.FAILURE, failure_payload(error)


_CANCELED = nexusrpc.OperationErrorState.CANCELED
