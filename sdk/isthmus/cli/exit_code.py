"""What the command line exits with, and which error means which: scripts rely on both."""

from enum import IntEnum, unique


@unique
class ExitCode(IntEnum):
    """Documented exit codes."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DENIED = 3
    NOT_FOUND = 4
    CONFLICT = 5
    UNAVAILABLE = 6
    STILL_RUNNING = 7
    UNPROVEN = 8
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "it worked",
    ExitCode.FAILED: "the operation failed, or the command did",
    ExitCode.USAGE: "wrong usage or configuration",
    ExitCode.DENIED: "denied, or not authenticated",
    ExitCode.NOT_FOUND: "no such thing",
    ExitCode.CONFLICT: "it conflicts with what exists",
    ExitCode.UNAVAILABLE: "the gateway, or whoever has the keyring in custody, cannot be reached",
    ExitCode.STILL_RUNNING: "time is over, the operation is still running",
    ExitCode.UNPROVEN: "the ending is not proven",
    ExitCode.INTERRUPTED: "interrupted",
}


class CliError(Exception):
    """Something that the person at the command line can mend; the message says how."""

    def __init__(self, message: str, *, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.code = code


def classify(error: BaseException) -> ExitCode | None:
    """Return the exit code of an expected error, None for one that nobody foresaw."""
    if isinstance(error, CliError):
        return error.code
    if isinstance(error, OSError):
        return ExitCode.FAILED
    # By name, along the bases: no module has to be imported to ask, and a subclass counts as its parent.
    for base in type(error).__mro__:
        if base.__name__ in _BY_NAME and base.__module__.partition(".")[0] in {"isthmus", "nexusrpc"}:
            code = _BY_NAME[base.__name__]
            # A gateway that does not answer: only if the call was about an operation is that still running.
            is_silence = code is ExitCode.STILL_RUNNING and not getattr(error, "is_of_operation", False)
            return ExitCode.UNAVAILABLE if is_silence else code
    return None


_BY_NAME = {
    "AlreadyExistsError": ExitCode.CONFLICT,
    "ClientClosedError": ExitCode.UNAVAILABLE,
    "ConfigurationError": ExitCode.USAGE,
    "ConflictError": ExitCode.CONFLICT,
    "ConnectionLostError": ExitCode.UNAVAILABLE,
    "CustodyUnavailableError": ExitCode.UNAVAILABLE,
    "DatasetError": ExitCode.USAGE,
    "DemoError": ExitCode.FAILED,
    "DeadlineExceededError": ExitCode.STILL_RUNNING,
    "DirectoryUnreachableError": ExitCode.UNAVAILABLE,
    "EnvelopeError": ExitCode.UNPROVEN,
    "GatewayError": ExitCode.FAILED,
    "HandlerError": ExitCode.FAILED,
    "InvalidRequestError": ExitCode.USAGE,
    "IsthmusError": ExitCode.FAILED,
    "KeyFileExistsError": ExitCode.CONFLICT,
    "KeysError": ExitCode.FAILED,
    "KeyringError": ExitCode.USAGE,
    "NotFoundError": ExitCode.NOT_FOUND,
    "OperationError": ExitCode.FAILED,
    "OperationExpiredError": ExitCode.NOT_FOUND,
    "PayloadTooLargeError": ExitCode.USAGE,
    "PermissionDeniedError": ExitCode.DENIED,
    "PreconditionFailedError": ExitCode.CONFLICT,
    "ResourceExhaustedError": ExitCode.UNAVAILABLE,
    "TrustError": ExitCode.USAGE,
    "UnauthenticatedError": ExitCode.DENIED,
    "UnavailableError": ExitCode.UNAVAILABLE,
    "UnprovenOutcomeError": ExitCode.UNPROVEN,
    "KeyDestroyedError": ExitCode.FAILED,
    "UnverifiedAnswerError": ExitCode.UNPROVEN,
    "WireFormatError": ExitCode.USAGE,
    "WorkerError": ExitCode.FAILED,
}
