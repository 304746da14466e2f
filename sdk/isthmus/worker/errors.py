"""What a worker raises to the people who run it."""

from isthmus.transport.errors import IsthmusError


class WorkerError(IsthmusError):
    """A worker cannot do what it was asked to do; the message says what to change."""


class NotInTaskError(WorkerError, RuntimeError):
    """Code asked for the current task outside of one."""


class WorkerRefusedError(WorkerError):
    """The gateway refused this worker at its first contact: credential, namespace or task queue are wrong."""


class CompletionRefusedError(WorkerError):
    """An operation could not be completed: its request was not verified, or it has ended already."""


class TaskLostError(WorkerError):
    """A task does not belong to this worker any more: another attempt runs, or the operation has ended."""


class ReportRefusedError(WorkerError):
    """What a task reported cannot be sealed, or the gateway refuses it. The task goes on."""


class ReportTooLargeError(WorkerError, ValueError):
    """What a handler wants to report is too large; report where it is instead."""


class SignalRefusedError(WorkerError):
    """What the gateway shows as signals is not authentic, or one is missing; the worker's log says more."""


class UntrustedNamespaceError(WorkerError):
    """A namespace is not pinned here: nothing that it signs is believed, and nothing is sealed to it."""

    def __init__(self, namespace: str) -> None:
        super().__init__(
            f"namespace {namespace!r} is not trusted here; if it may call, ask its team for the fingerprint "
            f"of its root key and run: isthmus trust add {namespace} --fingerprint …"
        )
        self.namespace = namespace
