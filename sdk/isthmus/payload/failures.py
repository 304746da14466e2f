"""Exceptions to serialized failures and back, with their chain of causes.

What a handler raises arrives at the caller as the same kind of exception: ``nexusrpc.HandlerError`` or
``nexusrpc.OperationError``, caused by what caused it. Everything else becomes a HandlerError of type INTERNAL
with a RemoteError as its cause. Failures follow the Nexus RPC specification, section "Failure".
"""

import itertools
import json
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import nexusrpc
from google.protobuf.message import DecodeError

from isthmus.payload.errors import PayloadConversionError
from isthmus.payload.jsonable import type_name
from isthmus.payload.payload import Payload
from isthmus.v1 import envelope_pb2

CONTENT_TYPE = 'application/x-protobuf; message-type="isthmus.v1.Failure"'
MAX_DEPTH = 20
MAX_BYTES = 256 * 1024
_MAX_MESSAGE_CHARS = 8 * 1024
_MAX_STACK_TRACE_CHARS = 16 * 1024
_MAX_DETAILS_BYTES = 64 * 1024
_TYPE = "type"
_CUT = " … (cut)"


class RemoteError(Exception):
    """What was raised at the other end and is no Nexus error: a cause, known by its type's name."""

    def __init__(self, message: str, *, type_name: str, stack_trace: str | None = None) -> None:
        super().__init__(f"{type_name}: {message}" if type_name else message)
        self.message = message
        self.type_name = type_name
        self.stack_trace = stack_trace


class HandlerErrorFactory(Protocol):
    """Makes the HandlerError that is raised; ``nexusrpc.HandlerError`` itself is one."""

    def __call__(
        self,
        message: str,
        *,
        type: nexusrpc.HandlerErrorType | str,  # noqa: A002 - the parameter of nexusrpc
        retryable_override: bool | None,
        stack_trace: str | None,
        original_failure: nexusrpc.Failure | None,
    ) -> nexusrpc.HandlerError:
        """Make it."""
        ...


class OperationErrorFactory(Protocol):
    """Makes the OperationError that is raised; ``nexusrpc.OperationError`` itself is one."""

    def __call__(
        self,
        message: str,
        *,
        state: nexusrpc.OperationErrorState,
        stack_trace: str | None,
        original_failure: nexusrpc.Failure | None,
    ) -> nexusrpc.OperationError:
        """Make it."""
        ...


@dataclass(slots=True)
class _Budget:
    """Characters that the whole failure may still take."""

    left: int = MAX_BYTES // 4

    def cut(self, text: str, limit: int) -> str:
        limit = min(limit, max(self.left, len(_CUT)))
        text = text[: limit + 1].encode(errors="replace").decode()  # protobuf takes no lone surrogates
        shown = text if len(text) <= limit else text[: limit - len(_CUT)] + _CUT
        self.left -= len(shown)
        return shown


def failure_payload(error: BaseException, *, stack_traces: bool = False) -> Payload:
    """Serialize an exception as the payload of a FAILURE or CANCELED envelope.

    At most 20 causes deep and 256 KiB large; longer texts are cut.

    Args:
        error: what the handler raised.
        stack_traces: also send where it was raised. Off by default: the caller is another team.
    """
    if not isinstance(error, nexusrpc.HandlerError | nexusrpc.OperationError):
        internal = nexusrpc.HandlerError(f"the handler raised {type(error).__name__}", type="INTERNAL")
        internal.__cause__ = error
        error = internal
    message = _encode(list(_chain(error)), _Budget(), stack_traces=stack_traces)
    return Payload(content_type=CONTENT_TYPE, data=message.SerializeToString(deterministic=True))


def exception_from_payload(
    payload: Payload,
    *,
    handler_error: HandlerErrorFactory = nexusrpc.HandlerError,
    operation_error: OperationErrorFactory = nexusrpc.OperationError,
) -> nexusrpc.HandlerError | nexusrpc.OperationError:
    """Return the exception that a failure describes, with its causes as ``__cause__``.

    ``original_failure`` keeps everything that was sent. The factories make the outermost exception only.

    Raises:
        PayloadConversionError: the payload is no failure.
    """
    if payload.content_type != CONTENT_TYPE or len(payload.data) > MAX_BYTES:
        msg = f"a failure was expected, not {payload.content_type!r} of {len(payload.data)} bytes"
        raise PayloadConversionError(msg)
    message = envelope_pb2.Failure()
    try:
        message.ParseFromString(payload.data)
    except DecodeError as error:
        msg = "the failure does not parse"
        raise PayloadConversionError(msg) from error
    failures = _unchain(message)
    made = _make(failures[0], handler_error, operation_error)
    if isinstance(made, RemoteError):
        made = handler_error(
            made.message,
            type="UNKNOWN",
            retryable_override=None,
            stack_trace=made.stack_trace,
            original_failure=_nexus_failure(failures[0]),
        )
    effect: BaseException = made
    for failure in failures[1:]:
        cause = _make(failure, nexusrpc.HandlerError, nexusrpc.OperationError)
        effect.__cause__ = cause
        effect = cause
    return made


def _chain(error: BaseException) -> Iterator[BaseException | nexusrpc.Failure]:
    """Walk the causes, not in circles; then what a foreign failure said about its own causes."""
    seen: set[int] = set()
    current: BaseException | None = error
    last = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        last = current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    foreign = _original(last)
    while foreign is not None and foreign.cause is not None:
        foreign = foreign.cause
        yield foreign


def _encode(
    links: list[BaseException | nexusrpc.Failure], budget: _Budget, *, stack_traces: bool
) -> envelope_pb2.Failure:
    # Outermost first, so that it gets its share of the budget; then chained from the inside.
    messages = [_encode_one(link, budget, stack_traces=stack_traces) for link in links[:MAX_DEPTH]]
    for effect, cause in reversed(list(itertools.pairwise(messages))):
        effect.cause.CopyFrom(cause)
    return messages[0]


def _encode_one(
    link: BaseException | nexusrpc.Failure, budget: _Budget, *, stack_traces: bool
) -> envelope_pb2.Failure:
    original = link if isinstance(link, nexusrpc.Failure) else _original(link)
    text = getattr(link, "message", None)
    message = envelope_pb2.Failure(
        message=budget.cut(text if isinstance(text, str) else str(link), _MAX_MESSAGE_CHARS)
    )
    trace = _stack_trace(link) if stack_traces else None
    if trace:
        message.stack_trace = budget.cut(trace, _MAX_STACK_TRACE_CHARS)
    metadata = {} if original is None else dict(original.metadata or {})
    if not isinstance(link, nexusrpc.Failure | nexusrpc.HandlerError | nexusrpc.OperationError):
        metadata[_TYPE] = link.type_name if isinstance(link, RemoteError) else type_name(type(link))
    for name in sorted(metadata)[:64]:
        message.metadata.add(name=budget.cut(name, 256), value=budget.cut(metadata[name], 1024))
    if original is not None and original.details:
        details = json.dumps(original.details, sort_keys=True, separators=(",", ":")).encode()
        if len(details) <= min(_MAX_DETAILS_BYTES, budget.left):
            budget.left -= len(details)
            message.details_json = details
    if isinstance(link, nexusrpc.HandlerError):
        message.handler_error.type = link.raw_error_type
        if link.retryable_override is not None:
            message.handler_error.retryable_override = link.retryable_override
    elif isinstance(link, nexusrpc.OperationError):
        message.operation_error.state = link.state.value
    return message


def _original(error: BaseException) -> nexusrpc.Failure | None:
    if isinstance(error, nexusrpc.HandlerError | nexusrpc.OperationError):
        return error.original_failure
    return None


def _stack_trace(link: BaseException | nexusrpc.Failure) -> str | None:
    kept = getattr(link, "stack_trace", None)
    if isinstance(kept, str) or isinstance(link, nexusrpc.Failure):
        return kept
    return "".join(traceback.format_tb(link.__traceback__)) or None


def _unchain(message: envelope_pb2.Failure) -> list[envelope_pb2.Failure]:
    failures = [message]
    while failures[-1].HasField("cause") and len(failures) < MAX_DEPTH:
        failures.append(failures[-1].cause)
    return failures


def _make(
    failure: envelope_pb2.Failure, handler_error: HandlerErrorFactory, operation_error: OperationErrorFactory
) -> nexusrpc.HandlerError | nexusrpc.OperationError | RemoteError:
    stack_trace = failure.stack_trace or None
    match failure.WhichOneof("kind"):
        case "handler_error":
            info = failure.handler_error
            override = info.retryable_override if info.HasField("retryable_override") else None
            return handler_error(
                failure.message,
                type=info.type,
                retryable_override=override,
                stack_trace=stack_trace,
                original_failure=_nexus_failure(failure),
            )
        case "operation_error":
            canceled = failure.operation_error.state == nexusrpc.OperationErrorState.CANCELED.value
            return operation_error(
                failure.message,
                state=nexusrpc.OperationErrorState.CANCELED
                if canceled
                else nexusrpc.OperationErrorState.FAILED,
                stack_trace=stack_trace,
                original_failure=_nexus_failure(failure),
            )
        case None:
            names = {entry.name: entry.value for entry in failure.metadata}
            return RemoteError(failure.message, type_name=names.get(_TYPE, ""), stack_trace=stack_trace)


def _nexus_failure(message: envelope_pb2.Failure) -> nexusrpc.Failure:
    made: nexusrpc.Failure | None = None
    for failure in reversed(_unchain(message)):
        made = nexusrpc.Failure(
            message=failure.message,
            stack_trace=failure.stack_trace or None,
            metadata={entry.name: entry.value for entry in failure.metadata} or None,
            details=_details(failure.details_json),
            cause=made,
        )
    if made is None:
        msg = "the failure is empty"
        raise PayloadConversionError(msg)
    return made


def _details(data: bytes) -> dict[str, object] | None:
    if not data:
        return None
    try:
        details = json.loads(data)
    except (ValueError, RecursionError) as error:
        msg = "the details of the failure are not JSON"
        raise PayloadConversionError(msg) from error
    if not isinstance(details, dict):
        msg = "the details of the failure are no JSON object"
        raise PayloadConversionError(msg)
    return details
