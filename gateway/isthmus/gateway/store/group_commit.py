"""What callers of a store meet, whichever the database: commands that share commits, queries, listeners."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

from isthmus.gateway.core.errors import ExhaustedError, UnavailableError
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.ports import Awaited, Clock, Command, CommitWatcher, Listener, Reader, Signal
from isthmus.gateway.store.reader_pool import ReaderPool, Snapshots
from isthmus.gateway.store.transactions import Transactions
from isthmus.gateway.store.writer import Outcome, Submission, Writer

T = TypeVar("T")
C = TypeVar("C")

RETRY_AFTER_SECONDS = 0.2

_logger = logging.getLogger(__name__)


class GroupCommitStore(ABC, Generic[C]):
    """``ports.Store`` over a writer thread and a pool of readers. Lives on the event loop that opens it.

    It is opened once; after ``close`` another object opens the database again.

    Args:
        transactions: the database as the writer needs it.
        snapshots: the database as readers need it.
        most_waiting: commands, and queries, that may wait; more are refused.
        readers: queries that run at the same time.
    """

    def __init__(
        self, transactions: Transactions, snapshots: Snapshots[C], *, most_waiting: int, readers: int
    ) -> None:
        self._most_waiting = most_waiting
        self._waiting = 0
        self._submissions: list[Submission] = []
        self._is_open = False
        self._listeners: list[Callable[[Sequence[Signal]], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watchers: list[CommitWatcher] = []
        self._writer = Writer(transactions, self._deliver_soon, self._committed)
        self._readers = ReaderPool(snapshots, size=readers, most_waiting=most_waiting)

    async def transact(self, command: Command[T], *, reads: Sequence[OperationKey] = ()) -> T:
        """Run a command and return its result after its changes are on disk.

        A command may run again, when another one of its group wrote what cannot be stored, or another gateway
        was faster; only the run that is committed counts.

        Raises:
            UnavailableError: the store cannot commit now; nothing was changed.
            InDoubtError: the store went away while it committed; nobody knows whether it did.
            ExhaustedError: too many commands wait; nothing was changed.
        """
        (outcome,) = await self.submit_all((command,), reads=reads)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def submit_all(
        self, commands: Sequence[Command[T]], *, reads: Sequence[OperationKey] = ()
    ) -> "asyncio.Future[list[T | BaseException]]":
        """Run commands as ``transact`` does each of them, and return at once with one future for all.

        Raises:
            UnavailableError: the store is not open.
            ExhaustedError: too many commands wait; none of them runs.
        """
        if not self._is_open:
            raise _closed()
        if self._waiting >= self._most_waiting:
            raise ExhaustedError(
                "too many commands wait for the store",
                reason="STORE_BUSY",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self._waiting += len(commands)
        future: asyncio.Future[list[T | BaseException]] = asyncio.get_running_loop().create_future()
        if not self._submissions:
            asyncio.get_running_loop().call_soon(self._submit_collected)
        self._submissions.append(Submission(commands=commands, reads=reads, handle=future))
        return future

    def _submit_collected(self) -> None:
        """Hand over what this turn of the event loop submitted: waking the writer is dear."""
        submissions, self._submissions = self._submissions, []
        self._writer.submit(submissions)

    async def read(self, query: Callable[[Reader], T]) -> T:
        """Run a query on a snapshot that contains every commit acknowledged so far.

        Raises:
            UnavailableError: the store cannot be read now.
            ExhaustedError: too many queries wait.
        """
        if not self._is_open:
            raise _closed()
        return await self._readers.read(query)

    async def can_commit(self) -> bool:
        """Whether commits succeed: at once as long as the last one did; else one more is tried.

        Without that try a gateway that nobody sends calls to would never learn that it is well again.
        """
        if self._writer.trouble.lasts:
            try:
                await self.transact(lambda _: None)
            except (UnavailableError, ExhaustedError):
                return False
        return True

    def subscribe(self, listener: Callable[[Sequence[Signal]], None]) -> None:
        """Call the listener with the signals of each commit, on the event loop that opened the store."""
        self._listeners.append(listener)

    def subscribe_to_others(self, listener: Listener, awaited: Awaited) -> None:
        """Call the listener with what other gateways commit: here there are none."""

    def watch_commits(self, watcher: CommitWatcher) -> None:
        """Call the watcher after each commit that succeeded, on the writer thread."""
        self._watchers.append(watcher)

    async def pin(self, name: str, value: str) -> None:
        """Make sure that every gateway of this database has the same value: here there is one."""

    async def check_clock(self, clock: Clock) -> None:
        """Make sure that a clock is that of all gateways of this database: here there is one."""

    async def open(self) -> None:
        """Take the store: check its settings, migrate it.

        Raises:
            ConfigurationError: the settings are not durable, or the schema does not fit.
            UnavailableError: another gateway has it, or it cannot be reached.
        """
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._open)
        self._is_open = True

    async def close(self) -> None:
        """Commit what was submitted, refuse the rest, release the store."""
        if not self._is_open:
            return
        self._is_open = False
        self._submit_collected()
        await asyncio.to_thread(self._close)

    @abstractmethod
    def _open(self) -> None:
        """Take the database, then call ``_start``. Blocks."""

    @abstractmethod
    def _release(self) -> None:
        """Give back what ``_open`` took. Blocks."""

    def _start(self) -> None:
        """Connect readers and writer."""
        try:
            self._readers.start()
            self._writer.start()
        except BaseException:
            self._readers.disconnect()
            raise

    def _close(self) -> None:
        self._writer.stop()
        self._readers.stop()
        self._release()

    def _committed(self, commands: int, seconds: float) -> None:
        for watcher in self._watchers:
            watcher(commands, seconds)

    def _deliver_soon(
        self, signals: Sequence[Signal], outcomes: Sequence[tuple[object, list[Outcome]]]
    ) -> None:
        """Hand a group over to the event loop; called on the writer thread after its commit."""
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._deliver, signals, outcomes)
        except RuntimeError:
            _logger.warning("the event loop is gone; the outcomes of %d calls are lost", len(outcomes))

    def _tell(self, signals: Sequence[Signal]) -> None:
        """Pass signals on to the listeners; called on the event loop."""
        for listener in self._listeners:
            try:
                listener(signals)
            except Exception:
                # The commit stands, and its callers have to hear of it.
                _logger.exception("a listener failed")

    def _deliver(self, signals: Sequence[Signal], outcomes: Sequence[tuple[object, list[Outcome]]]) -> None:
        if signals:
            self._tell(signals)
        for handle, results in outcomes:
            self._waiting -= len(results)
            future = cast("asyncio.Future[list[Outcome]]", handle)
            if not future.done():
                future.set_result(results)


def _closed() -> UnavailableError:
    return UnavailableError("the store is not open", reason="STORE_CLOSED", retry_after_seconds=1.0)
