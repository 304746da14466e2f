"""The one writer thread: commands that wait while a commit is under way share the next one."""

import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.gateway.core.errors import GatewayError, UnavailableError
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.ports import AuditAppended, Command, CommitWatcher, Signal
from isthmus.gateway.store.changes import CallerLine, Known
from isthmus.gateway.store.commit_trouble import CommitTrouble
from isthmus.gateway.store.flush import Sequences
from isthmus.gateway.store.group import Buffer, Group
from isthmus.gateway.store.operations import Ident, StoredOperation
from isthmus.gateway.store.unit_of_work import BufferedUnitOfWork

_logger = logging.getLogger(__name__)

MOST_COMMANDS = 256
# An operation is written twice as a rule, within moments: what was just written need not be read back.
MOST_RECENT_OPERATIONS = 4096
RETRY_AFTER_SECONDS = 1.0

Outcome = Any
"""What a command returned, and what is committed; or the error of one that changed nothing."""

# What the driver or SQLite says about values, not about the disk: some command of the group wrote what cannot
# be stored. Text that is no Unicode is a ValueError, a number above 64 bits an OverflowError.
_UNSTORABLE = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
    OverflowError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Commands, what they will read, and the handle by which their submitter knows their outcomes again."""

    commands: Sequence[Command[Any]]
    reads: Sequence[OperationKey]
    handle: Any


Deliver = Callable[[Sequence[Signal], Sequence[tuple[Any, list[Outcome]]]], None]
"""Takes the signals of a commit, and each handle with its outcomes; called on the writer thread."""


class Writer:
    """Runs commands and commits them, group by group, on a thread of its own.

    Nothing is delivered before its commit returned. A commit that fails takes its whole group with it; the
    next group begins on a new connection, so that the store works again as soon as the disk does.
    """

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], deliver: Deliver, watch: CommitWatcher
    ) -> None:
        self._connect = connect
        self._deliver = deliver
        self._watch = watch
        self._queue: queue.SimpleQueue[Sequence[Submission] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="isthmus-store-writer", daemon=True)
        self._connection: sqlite3.Connection | None = None
        self._sequences: Sequences | None = None
        self._recent: dict[Ident, StoredOperation | None] = {}
        self._open_counts: dict[CallerLine, int] = {}
        self.trouble = CommitTrouble()

    def start(self) -> None:
        """Connect, then start the thread.

        Raises:
            ConfigurationError: the connection is not durable.
            sqlite3.Error: the database cannot be opened.
        """
        self._reconnect()
        self._thread.start()

    def submit(self, submissions: Sequence[Submission]) -> None:
        """Queue commands."""
        self._queue.put(submissions)

    def stop(self) -> None:
        """Commit what is queued, then end the thread. Blocks."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        waiting: deque[Submission] = deque()
        is_running = True
        while is_running or waiting:
            if is_running:
                is_running = self._collect(waiting)
            group = _take_group(waiting)
            if group:
                self._commit_and_deliver(group)
        self._disconnect()

    def _collect(self, waiting: deque[Submission]) -> bool:
        """Take what is queued; wait for it if there is nothing to do. Return whether more may come."""
        while not waiting or (len(waiting) < MOST_COMMANDS and not self._queue.empty()):
            more = self._queue.get()
            if more is None:
                return False
            waiting.extend(more)
        return True

    def _commit_and_deliver(self, submissions: Sequence[Submission]) -> None:
        try:
            signals, outcomes = self._try_commit(submissions)
        except _UNSTORABLE:
            # The others must not suffer: every command again, in a commit of its own.
            for submission in submissions:
                self._deliver(*self._commit_each(submission))
            return
        handles = [submission.handle for submission in submissions]
        self._deliver(signals, list(zip(handles, outcomes, strict=True)))

    def _commit_each(
        self, submission: Submission
    ) -> tuple[Sequence[Signal], Sequence[tuple[Any, list[Outcome]]]]:
        signals: list[Signal] = []
        outcomes: list[Outcome] = []
        for command in submission.commands:
            alone = Submission(commands=(command,), reads=submission.reads, handle=None)
            try:
                told, ((outcome,),) = self._try_commit((alone,))
            except _UNSTORABLE as error:
                outcome = error
            else:
                signals += told
            outcomes.append(outcome)
        return signals, [(submission.handle, outcomes)]

    def _try_commit(self, submissions: Sequence[Submission]) -> tuple[Sequence[Signal], list[list[Outcome]]]:
        """Commit, or say of every command why it was not. Raises what tells that a value is unstorable."""
        try:
            return self._commit(submissions)
        except _UNSTORABLE:
            raise
        except (sqlite3.Error, GatewayError, OSError) as error:
            self.trouble.failed(error, sum(len(submission.commands) for submission in submissions))
            failure: BaseException = _unavailable(error)
        except BaseException as error:
            _logger.exception("the writer failed; what it was to commit is refused")
            failure = error
        return [], [[failure] * len(submission.commands) for submission in submissions]

    def _commit(self, submissions: Sequence[Submission]) -> tuple[Sequence[Signal], list[list[Outcome]]]:
        began = time.perf_counter()
        connection, sequences = self._reconnect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            group = Group(connection, sequences, Known(self._recent, self._open_counts))
            group.look_up([key for submission in submissions for key in submission.reads])
            outcomes = [
                [_run_command(group, command) for command in submission.commands]
                for submission in submissions
            ]
            group.flush()
            if self.trouble.lasts:
                _write_anyway(connection)
            connection.execute("COMMIT")
        except BaseException:
            # Closing rolls back, and a connection that met an error of the disk is not asked again.
            self._disconnect()
            self._recent = {}
            self._open_counts = {}
            raise
        self._open_counts = group.known.open_counts
        self._recent = group.known.recent_operations(MOST_RECENT_OPERATIONS)
        self.trouble.succeeded()
        self._watch(sum(len(results) for results in outcomes), time.perf_counter() - began)
        if group.has_audit:
            group.signals.append(AuditAppended())
        return group.signals, outcomes

    def _reconnect(self) -> tuple[sqlite3.Connection, Sequences]:
        if self._connection is None or self._sequences is None:
            connection = self._connect()
            self._sequences = Sequences(connection)
            self._connection = connection
        return self._connection, self._sequences

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:
                _logger.exception("the connection of the writer does not close")


def _take_group(waiting: deque[Submission]) -> list[Submission]:
    """Take what shares a commit: as much as a group holds, at least one submission."""
    group: list[Submission] = []
    count = 0
    while waiting and (not group or count + len(waiting[0].commands) <= MOST_COMMANDS):
        submission = waiting.popleft()
        group.append(submission)
        count += len(submission.commands)
    return group


def _run_command(group: Group, command: Command[Any]) -> Outcome:
    buffer = Buffer(group)
    try:
        result = command(BufferedUnitOfWork(buffer))
    except sqlite3.Error:
        # The transaction is of no use any more, to this command or to the others.
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is for who asked
        buffer.drop()
        return error
    buffer.keep()
    return result


def _write_anyway(connection: sqlite3.Connection) -> None:
    """Write the header of the database as it is: a commit of nothing succeeds on a full disk, too."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute(f"PRAGMA user_version = {version}")


def _unavailable(error: BaseException) -> UnavailableError:
    unavailable = UnavailableError(
        "the store cannot commit now; nothing was changed",
        reason="STORE_UNAVAILABLE",
        fix="Look into the gateway's log: most often its disk is full.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
    unavailable.__cause__ = error
    return unavailable
