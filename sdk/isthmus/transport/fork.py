"""What was made before a fork is never used after it."""

import os
import weakref

from isthmus.transport.errors import ForkedError

_ASYNC_ADVICE = (
    "use SyncClient, which is safe after a fork; or create the async client after the fork and none before "
    "it; or start processes with the 'spawn' method"
)


class ProcessMark:
    """Remembers the process that made an object."""

    __slots__ = ("__weakref__", "_pid")

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def forked(self) -> bool:
        """Whether the current process is another one."""
        return self._pid != os.getpid()

    def check(self) -> None:
        """Raise ForkedError in another process than the one that made the object."""
        if self.forked:
            owner = f"this connection belongs to process {self._pid}, which forked this one"
            raise ForkedError(f"{owner}; {_ASYNC_ADVICE}")


# Process-wide, because what it mirrors is: gRPC's asyncio engine has one polling thread a process.
# A child that was forked while the engine ran has the engine's state without the thread, and every call in it
# hangs (or, with GRPC_ENABLE_FORK_SUPPORT, crashes). Sync channels made after the fork work.
_ASYNC_IN_USE: weakref.WeakSet[ProcessMark] = weakref.WeakSet()


def enter_async() -> ProcessMark:
    """Note that the asyncio engine of gRPC is in use in this process, until leave_async.

    Raises:
        ForkedError: the engine was in use in the parent when this process was forked.
    """
    for mark in list(_ASYNC_IN_USE):
        if mark.forked:
            raise ForkedError(f"an async client was connected when this process was forked; {_ASYNC_ADVICE}")
    mark = ProcessMark()
    _ASYNC_IN_USE.add(mark)
    return mark


def leave_async(mark: ProcessMark) -> None:
    """Note that one use of the engine is over."""
    _ASYNC_IN_USE.discard(mark)
