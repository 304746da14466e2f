"""What was made before a fork is never used after it."""

import os

from isthmus.transport.errors import ForkedError

_ASYNC_ADVICE = (
    "use SyncClient, which is safe after a fork; or create the async client after the fork and none before "
    "it; or start processes with the 'spawn' method"
)


class ProcessMark:
    """Remembers the process that made an object."""

    __slots__ = ("_pid",)

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def forked(self) -> bool:
        """Whether the current process is another one."""
        return self._pid != os.getpid()

    def check(self) -> None:
        """Raise ForkedError in another process than the one that made the object."""
        if self._pid != os.getpid():
            owner = f"this connection belongs to process {self._pid}, which forked this one"
            raise ForkedError(f"{owner}; {_ASYNC_ADVICE}")


# Process-wide, because what it mirrors is: gRPC's asyncio engine has one polling thread a process, which ends
# some time after the last channel was closed and collected. A child that was forked while it ran has the
# engine's state without the thread, and every call in it hangs (or, with GRPC_ENABLE_FORK_SUPPORT, crashes).
# Whether it still ran cannot be told, so one use counts for good. Sync channels made after the fork work.
_USED_ASYNC: set[int] = set()


def enter_async() -> ProcessMark:
    """Note that this process uses the asyncio engine of gRPC.

    Raises:
        ForkedError: the engine was used in the parent before this process was forked.
    """
    if _USED_ASYNC - {os.getpid()}:
        raise ForkedError(f"an async client was connected before this process was forked; {_ASYNC_ADVICE}")
    _USED_ASYNC.add(os.getpid())
    return ProcessMark()
