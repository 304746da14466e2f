"""The only mapping of errors to statuses in the gateway.

A status carries ``google.rpc`` details: an ``ErrorInfo`` with the stable reason, the domain ``isthmus`` and,
in its metadata, ``fix``: one sentence that says what would help. A ``RetryInfo`` says when the same request
may succeed. What nobody foresaw becomes INTERNAL: its cause stays in the log, the client gets the incident id
to ask about.
"""

import logging
import secrets
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from isthmus.gateway.api.caller import count_refusal, current_method, current_principal_name
from isthmus.gateway.core.errors import Code, GatewayError
from isthmus.wire.errors import UnknownSuiteError, WireFormatError

DOMAIN = "isthmus"
DETAILS_KEY = "grpc-status-details-bin"
_LOG = logging.getLogger(__name__)

GRPC_CODES = {
    Code.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Code.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Code.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Code.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Code.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Code.ABORTED: grpc.StatusCode.ABORTED,
    Code.FAILED_PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Code.RESOURCE_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Code.INTERNAL: grpc.StatusCode.INTERNAL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error as a client gets it: nothing in it has to be hidden any more."""

    code: grpc.StatusCode
    message: str
    reason: str
    fix: str = ""
    incident: str = ""
    retry_after_seconds: float | None = None

    def status(self) -> status_pb2.Status:
        """Return the ``google.rpc.Status``."""
        metadata = {key: value for key, value in (("fix", self.fix), ("incident", self.incident)) if value}
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        _pack(status, error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=metadata))
        if self.retry_after_seconds is not None:
            delay = Duration()
            delay.FromMilliseconds(round(self.retry_after_seconds * 1000))
            _pack(status, error_details_pb2.RetryInfo(retry_delay=delay))
        return status


def refusal_of(error: BaseException) -> Refusal:
    """Return what a client may know of an error; the cause of an unforeseen one goes to the log only."""
    match error:
        case GatewayError() if error.code is not Code.INTERNAL:
            return Refusal(
                code=GRPC_CODES[error.code],
                message=error.message,
                reason=error.reason,
                fix=error.fix,
                retry_after_seconds=error.retry_after_seconds,
            )
        case UnknownSuiteError():
            return Refusal(
                code=grpc.StatusCode.INVALID_ARGUMENT,
                message=str(error),
                reason="UNKNOWN_SUITE",
                fix="Seal with a release of the SDK that speaks the suite of this gateway.",
            )
        case WireFormatError():
            return Refusal(code=grpc.StatusCode.INVALID_ARGUMENT, message=str(error), reason="WIRE_FORMAT")
        case _:
            return _incident(error)


def status_bytes(error: BaseException) -> bytes:
    """Return a serialized ``google.rpc.Status``, as frames carry errors; log and count the refusal."""
    refusal = refusal_of(error)
    note_refusal(refusal)
    serialized: bytes = refusal.status().SerializeToString()
    return serialized


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> NoReturn:
    """End an RPC with the status of an error; log and count the refusal."""
    refusal = refusal_of(error)
    note_refusal(refusal)
    await abort_with(context, refusal)


async def abort_with(context: grpc.aio.ServicerContext[Any, Any], refusal: Refusal) -> NoReturn:
    """End an RPC with a refusal."""
    details = ((DETAILS_KEY, refusal.status().SerializeToString()),)
    await context.abort(refusal.code, refusal.message, details)


def note_refusal(refusal: Refusal) -> None:
    """Count it, and write the one line that an operator needs to help somebody who was refused."""
    count_refusal(refusal.reason)
    _LOG.info(
        "refused: %s",
        refusal.message,
        extra={
            "reason": refusal.reason,
            "status": refusal.code.name,
            "fix": refusal.fix,
            "method": current_method(),
            "principal": current_principal_name(),
        },
    )


def _pack(
    status: status_pb2.Status, detail: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo
) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _incident(error: BaseException) -> Refusal:
    incident = secrets.token_hex(8)
    _LOG.error("incident %s", incident, exc_info=error)
    return Refusal(
        code=grpc.StatusCode.INTERNAL,
        message=f"the gateway failed; its log has incident {incident}",
        reason="INTERNAL",
        fix="Ask the operator of the gateway about the incident.",
        incident=incident,
    )
