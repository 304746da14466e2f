"""What a worker logs: one line for each task that did not end well, without payloads and without secrets.

The text of an exception may hold what the caller sent, so it travels to the caller, sealed, and appears in
the log at level DEBUG only.
"""

import logging
from pathlib import PurePath

import nexusrpc

from isthmus.envelope.errors import EnvelopeRejectedError, KeyUnavailableError
from isthmus.payload.errors import PayloadConversionError
from isthmus.wire.names import format_operation_id
from isthmus.worker.errors import UntrustedNamespaceError
from isthmus.worker.tasks import RunningTask, Stop

logger = logging.getLogger("isthmus.worker")


def report_failure(running: RunningTask, error: BaseException, *, outcome: str, advice: str) -> None:
    """Log that a handler failed: which operation, where, and what happens next."""
    header = running.opened.header if running.opened is not None else None
    logger.log(
        logging.INFO if running.stop is Stop.CANCELED else logging.WARNING,
        "task of %s %s: endpoint=%s operation=%s/%s attempt=%d error=%s %s; %s",
        format_operation_id(running.task.operation_id),
        outcome,
        header.endpoint if header else "?",
        header.service if header else "?",
        header.operation if header else "?",
        running.attempt,
        _kind(error),
        _place(error),
        advice,
        extra=_fields(running),
    )
    logger.debug("the error was", exc_info=error)


def report_rejection(
    running: RunningTask,
    error: EnvelopeRejectedError | KeyUnavailableError | UntrustedNamespaceError,
) -> None:
    """Log why an envelope was refused. The gateway and the caller learn the code only."""
    if isinstance(error, EnvelopeRejectedError):
        why = f"check {error.reason} failed"
        advice = "changed on the way, too old, or meant for somebody else; if it repeats, ask its caller"
    elif isinstance(error, KeyUnavailableError):
        why = str(error)
        advice = "publish or fetch the newest keys (isthmus keys status); the gateway tries again"
    else:
        why = "the caller is not pinned"
        advice = str(error)
    logger.warning(
        "task of %s rejected: caller=%s attempt=%d: %s; %s",
        format_operation_id(running.task.operation_id),
        running.task.caller_namespace,
        running.attempt,
        why,
        advice,
        extra=_fields(running),
    )


def report_forged_cancel(running: RunningTask, error: Exception) -> None:
    """Log that a cancel was not the caller's."""
    reason = error.reason if isinstance(error, EnvelopeRejectedError) else error
    logger.warning(
        "cancel of %s ignored: it could not be verified (%s)",
        format_operation_id(running.task.operation_id),
        reason,
        extra=_fields(running),
    )


def report_lost_details(running: RunningTask, error: KeyUnavailableError) -> None:
    """Log that an attempt starts over because the key to its heartbeat details is gone."""
    logger.warning(
        "heartbeat details of %s cannot be opened: %s; attempt %d starts over",
        format_operation_id(running.task.operation_id),
        error,
        running.attempt,
        extra=_fields(running),
    )


def _fields(running: RunningTask) -> dict[str, object]:
    header = running.opened.header if running.opened is not None else None
    return {
        "operation_id": format_operation_id(running.task.operation_id),
        "caller_namespace": running.task.caller_namespace,
        "endpoint": header.endpoint if header else None,
        "attempt": running.attempt,
    }


def _kind(error: BaseException) -> str:
    if isinstance(error, nexusrpc.HandlerError):
        return f"HandlerError({error.type.value})"
    if isinstance(error, nexusrpc.OperationError):
        return f"OperationError({error.state.value})"
    return type(error).__name__


def _place(error: BaseException) -> str:
    cause = error.__cause__
    if isinstance(cause, PayloadConversionError) and cause.type_name:
        # It was raised by the SDK: file and line would name the SDK's.
        return f"because {cause.type_name} cannot be serialized"
    trace = error.__traceback__
    if trace is None:
        return "at ?"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"at {PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
