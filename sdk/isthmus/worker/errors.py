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


class UntrustedNamespaceError(WorkerError):
    """A namespace is not pinned here: nothing that it signs is believed, and nothing is sealed to it."""

    def __init__(self, namespace: str) -> None:
        super().__init__(
            f"namespace {namespace!r} is not trusted here; if it may call, ask its team for the fingerprint "
            f"of its root key and run: isthmus trust add {namespace} --fingerprint …"
        )
        self.namespace = namespace
