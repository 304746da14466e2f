"""google.rpc.Status to errors of the domain, wherever it comes from: the one mapping of the SDK."""

from collections.abc import Iterable
from typing import Final, Protocol

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from isthmus.transport import errors

ERROR_DOMAIN: Final = "isthmus"
_DETAILS_KEY: Final = "grpc-status-details-bin"

_BY_CODE: Final[dict[int, type[errors.GatewayError]]] = {
    1: errors.ConnectionLostError,  # CANCELLED, by the other side
    2: errors.GatewayInternalError,  # UNKNOWN
    3: errors.InvalidRequestError,  # INVALID_ARGUMENT
    4: errors.DeadlineExceededError,  # DEADLINE_EXCEEDED
    5: errors.NotFoundError,  # NOT_FOUND
    6: errors.AlreadyExistsError,  # ALREADY_EXISTS
    7: errors.PermissionDeniedError,  # PERMISSION_DENIED
    8: errors.ResourceExhaustedError,  # RESOURCE_EXHAUSTED
    9: errors.PreconditionFailedError,  # FAILED_PRECONDITION
    10: errors.ConflictError,  # ABORTED
    11: errors.InvalidRequestError,  # OUT_OF_RANGE
    12: errors.UnsupportedError,  # UNIMPLEMENTED
    13: errors.GatewayInternalError,  # INTERNAL
    14: errors.ConnectionLostError,  # UNAVAILABLE
    15: errors.GatewayInternalError,  # DATA_LOSS
    16: errors.UnauthenticatedError,  # UNAUTHENTICATED
}
_BY_REASON: Final[dict[str, type[errors.GatewayError]]] = {
    "CONFLICT": errors.ConflictError,
    "OPERATION_EXPIRED": errors.OperationExpiredError,
    "KEY_RETIRED": errors.KeyRetiredError,
    # Signed with a key that was just replaced: the keyring knows the new one, or soon will.
    "SENDER_KEY_UNKNOWN": errors.KeyRetiredError,
    "ENDPOINT_RECORD_CHANGED": errors.EndpointRecordChangedError,
}


# What grpc.aio itself says when a write meets a call that has just ended; the other side never sends it.
_ENDED_MEANWHILE: Final = "Internal error from Core"
# BoringSSL's name for it, in what grpc says of a handshake.
_UNTRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"
_TRUST_IT: Final = (
    "no authority that is trusted here vouches for the certificate of what answers there: set ca_file in the"
    " profile, or ISTHMUS_CA_FILE, to the certificate of the authority that does"
)


class RpcStatus(Protocol):
    """What grpc's errors, sync and async, have in common."""

    def code(self) -> grpc.StatusCode:
        """Return the status code."""
        ...

    def details(self) -> str | None:
        """Return the text."""
        ...

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """Return the trailers."""
        ...


def error_from_rpc(error: RpcStatus, *, address: str | None = None) -> errors.GatewayError:
    """Return the error that a failed RPC stands for; ``address`` is where the gateway should be."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            return error_from_status(value)
    number: int = error.code().value[0]
    message = error.details() or ""
    if error.code() is grpc.StatusCode.INTERNAL and message == _ENDED_MEANWHILE:
        return errors.ConnectionLostError("the connection ended while something was written to it")
    # Without details it is not the gateway that says so: gRPC speaks of sockets, and people have an address.
    if address is not None and error.code() is grpc.StatusCode.UNAVAILABLE:
        message = f"cannot reach {address}: {message}"
        if _UNTRUSTED in message:
            return errors.ConnectionLostError(message, metadata={"fix": _TRUST_IT})
    return _make(status_pb2.Status(code=number, message=message))


def error_from_status(data: bytes) -> errors.GatewayError:
    """Return the error that a serialized google.rpc.Status stands for, as frames carry it."""
    status = status_pb2.Status()
    try:
        status.ParseFromString(data)
    except DecodeError:
        return errors.GatewayInternalError("the gateway sent an error that does not parse")
    return _make(status)


def _make(status: status_pb2.Status) -> errors.GatewayError:
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    retry_after_seconds: float | None = None
    for detail in status.details:
        found = error_details_pb2.ErrorInfo()
        if detail.Unpack(found):
            info = found if found.domain == ERROR_DOMAIN else info
        elif detail.Unpack(retry):
            retry_after_seconds = max(retry.retry_delay.ToTimedelta().total_seconds(), 0.0)
    kind = _BY_REASON.get(info.reason) or _BY_CODE.get(status.code, errors.GatewayInternalError)
    return kind(
        status.message,
        reason=info.reason,
        retry_after_seconds=retry_after_seconds,
        metadata=dict(info.metadata),
    )
