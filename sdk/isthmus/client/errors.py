"""How operations end badly, and what to do then.

What a handler raised arrives as ``nexusrpc.HandlerError`` or ``nexusrpc.OperationError``, caused by what
caused it. Every ending has ``attested``: whether the handler's namespace signed it. Errors of the way to the
gateway are those of ``isthmus.transport.errors``, which this module shows too.
"""

import nexusrpc

from isthmus.transport.errors import (
    AlreadyExistsError,
    ClientClosedError,
    ConfigurationError,
    ConflictError,
    ConnectionLostError,
    DeadlineExceededError,
    EndpointRecordChangedError,
    ForkedError,
    GatewayError,
    GatewayInternalError,
    InvalidRequestError,
    IsthmusError,
    KeyRetiredError,
    NotFoundError,
    OperationExpiredError,
    PermissionDeniedError,
    PreconditionFailedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnsupportedError,
)

__all__ = [
    "AlreadyExistsError",
    "AttestedHandlerError",
    "AttestedOperationError",
    "ClientClosedError",
    "ConfigurationError",
    "ConflictError",
    "ConnectionLostError",
    "DeadlineExceededError",
    "EndpointRecordChangedError",
    "ForkedError",
    "GatewayError",
    "GatewayInternalError",
    "InvalidRequestError",
    "IsthmusError",
    "KeyRetiredError",
    "NotFoundError",
    "OperationCanceledError",
    "OperationExpiredError",
    "OperationTimedOutError",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "PreconditionFailedError",
    "ResourceExhaustedError",
    "UnauthenticatedError",
    "UnprovenOutcomeError",
    "UnsupportedError",
    "UnverifiedAnswerError",
]


class PayloadTooLargeError(IsthmusError):
    """The input is larger than what an operation carries, 4 MiB when it is sealed; nothing was sent."""


class AttestedHandlerError(nexusrpc.HandlerError):
    """A HandlerError that the handler's namespace signed for this operation."""

    attested = True
    operation_id = ""


class AttestedOperationError(nexusrpc.OperationError):
    """An OperationError that the handler's namespace signed for this operation."""

    attested = True
    operation_id = ""


class OperationCanceledError(nexusrpc.OperationError):
    """Canceled before any worker got it, because this namespace asked for it: proven by its signed cancel."""

    attested = False

    def __init__(self, operation_id: str) -> None:
        super().__init__(
            f"{operation_id} was canceled before a worker took it; start it again under another id",
            state=nexusrpc.OperationErrorState.CANCELED,
        )
        self.operation_id = operation_id


class OperationTimedOutError(nexusrpc.OperationError):
    """A deadline of the signed request has passed, and the gateway ended the operation by it: proven.

    Attributes:
        timeout: which one: ``schedule_to_start``, ``start_to_close`` or ``schedule_to_close``.
    """

    attested = False

    def __init__(self, operation_id: str, timeout: str) -> None:
        super().__init__(
            f"{operation_id} ended by its {timeout} timeout; the handler may have run all the same: check"
            " with its owner before you start it again under another id, or with a longer timeout",
            state=nexusrpc.OperationErrorState.FAILED,
        )
        self.operation_id = operation_id
        self.timeout = timeout


class UnprovenOutcomeError(IsthmusError):
    """The gateway says that the operation ended, and nothing that either team signed agrees.

    Nothing is started again because of it.

    Attributes:
        kind: what the gateway says: ``denied``, ``canceled``, ``timed_out_…``, ``terminated``, ``exhausted``.
    """

    attested = False

    def __init__(self, operation_id: str, kind: str) -> None:
        super().__init__(
            f"the gateway says that {operation_id} {_SAYS.get(kind, f'was {kind}')}, and only the gateway"
            f" says so: nothing is started again because of it;{_audit(operation_id, kind)} ask the owner of"
            " the endpoint what became of it before you start it again under another id"
        )
        self.operation_id = operation_id
        self.kind = kind


_SAYS = {
    "timed_out_schedule_to_start": "timed out before a worker took it",
    "timed_out_start_to_close": "timed out while it ran",
    "timed_out_schedule_to_close": "timed out",
    "terminated": "was terminated by force, by the owner of its endpoint or the platform",
    "exhausted": "was given up, because its attempts were exhausted",
}


def _audit(operation_id: str, kind: str) -> str:
    if kind != "terminated":
        return ""
    return f" who did it and why is in the audit log (isthmus audit query --operation {operation_id});"


class UnverifiedAnswerError(IsthmusError):
    """The gateway's answer is not about what was asked, or not authentic. The reason is in the cause."""

    def __init__(self, operation_id: str, what: str) -> None:
        super().__init__(
            f"{what} of {operation_id} was refused: it does not verify; check that pins and keyrings are up"
            " to date, and report it to whoever operates the gateway"
        )
        self.operation_id = operation_id


class KeyDestroyedError(IsthmusError):
    """What was asked for is sealed to a key of one's own that was destroyed: nobody can open it any more."""

    def __init__(self, operation_id: str, what: str, key_id: str) -> None:
        super().__init__(
            f"{what} of {operation_id} is lost: it is sealed to the key {key_id} of this namespace, which was"
            " destroyed (isthmus keys destroy); start the operation again under another id"
        )
        self.operation_id = operation_id
        self.key_id = key_id
