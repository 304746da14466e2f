"""A few threads that read, each on a connection that it borrows for one short transaction."""

import asyncio
import logging
import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from isthmus.gateway.core.errors import ExhaustedError, UnavailableError
from isthmus.gateway.ports import Reader

T = TypeVar("T")
C = TypeVar("C")

_logger = logging.getLogger(__name__)
RETRY_AFTER_SECONDS = 0.2
PAUSE_SECONDS = 10.0
"""The log says once in so long that queries fail, however many do."""
# Results that the event loop has not taken are in memory, megabytes each: the threads do not run far ahead.
MAX_READ_AHEAD = 32


class Snapshots(Protocol[C]):
    """What the pool needs of a database."""

    errors: tuple[type[Exception], ...]
    """What the driver raises: the connection is of no use any more."""

    def connect(self) -> C:
        """Open a connection that only reads.

        Raises:
            ConfigurationError: it does not obey its settings.
            Exception: of ``errors``.
        """
        ...

    def read(self, connection: C, query: Callable[[Reader], T]) -> T:
        """Run a query in a read transaction: everything it reads is of the same moment."""
        ...

    def close(self, connection: C) -> None:
        """Close a connection, whatever state it is in."""
        ...


class ReaderPool(Generic[C]):
    """Runs queries on snapshots, as many at a time as it has connections.

    Args:
        snapshots: what connects and reads.
        size: number of threads and connections.
        most_waiting: how many queries may wait or run; more are refused.
    """

    def __init__(self, snapshots: Snapshots[C], *, size: int, most_waiting: int) -> None:
        self._snapshots = snapshots
        self._size = size
        self._most_waiting = most_waiting
        self._waiting = 0
        self._ahead = asyncio.Semaphore(MAX_READ_AHEAD)
        self._idle: queue.SimpleQueue[C] = queue.SimpleQueue()
        self._said_at = -PAUSE_SECONDS
        self._unsaid = 0
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="isthmus-store-reader")

    def start(self) -> None:
        """Open every connection now, so that one that is not as it should be stops the gateway here.

        Raises:
            ConfigurationError: a connection does not obey its settings.
            Exception: of the driver, the database cannot be opened.
        """
        for _ in range(self._size):
            self._idle.put(self._snapshots.connect())

    async def read(self, query: Callable[[Reader], T]) -> T:
        """Run a query on a snapshot that is younger than this call.

        Raises:
            ExhaustedError: too many queries wait.
            UnavailableError: the database cannot be read now.
        """
        if self._waiting >= self._most_waiting:
            raise ExhaustedError(
                "too many queries wait for the store",
                reason="STORE_BUSY",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self._waiting += 1
        try:
            async with self._ahead:
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, query)
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """Finish what runs, then close the connections. Blocks."""
        self._threads.shutdown(wait=True)
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connections that nobody uses."""
        while not self._idle.empty():
            self._snapshots.close(self._idle.get())

    def _read(self, query: Callable[[Reader], T]) -> T:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            # An earlier one was given up.
            connection = self._connect_again()
        try:
            result = self._snapshots.read(connection, query)
        except self._snapshots.errors as error:
            self._snapshots.close(connection)
            raise self._unavailable(error) from error
        except BaseException:
            self._idle.put(connection)
            raise
        self._idle.put(connection)
        return result

    def _connect_again(self) -> C:
        try:
            return self._snapshots.connect()
        except self._snapshots.errors as error:
            raise self._unavailable(error) from error

    def _unavailable(self, cause: Exception) -> UnavailableError:
        self._unsaid += 1
        now = time.monotonic()
        if now - self._said_at >= PAUSE_SECONDS:
            # The cause in the line itself: whoever asked is told nothing of what the database says.
            _logger.warning("the store cannot be read (%s); %d queries failed", cause, self._unsaid)
            self._said_at, self._unsaid = now, 0
        return UnavailableError(
            "the store cannot be read now",
            reason="STORE_UNAVAILABLE",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )
