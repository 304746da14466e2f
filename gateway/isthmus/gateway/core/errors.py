"""The one error hierarchy of the gateway.

Each error says what kind of trouble it is (``code``, rendered as a gRPC or HTTP status at the edge only),
which trouble exactly (``reason``, stable, for programs), what happened (the message) and what would fix it
(``fix``). Neither ever contains payload or secrets.
"""

from enum import Enum


class Code(Enum):
    """Kinds of trouble; the names are those of gRPC status codes."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    ABORTED = "ABORTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


class GatewayError(Exception):
    """Base of everything that the gateway tells a client.

    Args:
        message: what happened, one sentence.
        reason: UPPER_SNAKE_CASE, stable across releases.
        fix: what would help, one sentence; may be empty.
        retry_after_seconds: when the same request may succeed; None when it will not.
    """

    code = Code.INTERNAL
    default_reason = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        fix: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.fix = fix
        self.retry_after_seconds = retry_after_seconds


class InvalidRequestError(GatewayError):
    """The request is malformed: repeating it cannot help."""

    code = Code.INVALID_ARGUMENT
    default_reason = "INVALID_REQUEST"


class UnauthenticatedError(GatewayError):
    """The credential is missing or refused."""

    code = Code.UNAUTHENTICATED
    default_reason = "UNAUTHENTICATED"


class AccessDeniedError(GatewayError):
    """The principal may not do this."""

    code = Code.PERMISSION_DENIED
    default_reason = "ACCESS_DENIED"


class NotFoundError(GatewayError):
    """It does not exist, or the principal may not know that it does."""

    code = Code.NOT_FOUND
    default_reason = "NOT_FOUND"


class AlreadyExistsError(GatewayError):
    """It exists and is not to be reused."""

    code = Code.ALREADY_EXISTS
    default_reason = "ALREADY_EXISTS"


class ConflictError(GatewayError):
    """Somebody else changed it, or the same id names something else."""

    code = Code.ABORTED
    default_reason = "CONFLICT"


class PreconditionError(GatewayError):
    """The state does not allow it."""

    code = Code.FAILED_PRECONDITION
    default_reason = "FAILED_PRECONDITION"


class IllegalEventError(PreconditionError):
    """The operation's state machine has no such step."""

    default_reason = "ILLEGAL_EVENT"


class OperationExpiredError(GatewayError):
    """The operation ended so long ago that its payloads are gone; it is never silently started again."""

    code = Code.FAILED_PRECONDITION
    default_reason = "OPERATION_EXPIRED"


class ExhaustedError(GatewayError):
    """A limit is reached; nothing was done."""

    code = Code.RESOURCE_EXHAUSTED
    default_reason = "RESOURCE_EXHAUSTED"


class UnavailableError(GatewayError):
    """The gateway cannot do it now: it starts, drains or has lost its store."""

    code = Code.UNAVAILABLE
    default_reason = "UNAVAILABLE"


class InDoubtError(UnavailableError):
    """The store went away while it committed: nobody knows whether it did."""

    default_reason = "STORE_UNAVAILABLE"


class BackupError(GatewayError):
    """A backup, or a database that was to be backed up, is damaged."""

    code = Code.INTERNAL
    default_reason = "BACKUP_DAMAGED"


class ConfigurationError(GatewayError):
    """The configuration is unsafe or incomplete: the gateway refuses to start."""

    default_reason = "CONFIGURATION"
