"""The one writer thread: commands that wait while a commit is under way share the next one."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.gateway.core.errors import GatewayError, InDoubtError, UnavailableError
from isthmus.gateway.core.operation import OperationKey
from isthmus.gateway.ports import AuditAppended, Command, CommitWatcher, Signal
from isthmus.gateway.store.commit_trouble import CommitTrouble
from isthmus.gateway.store.driver import NO_SCOPES, LostRaceError
from isthmus.gateway.store.group import Buffer, Group
from isthmus.gateway.store.transactions import Transactions
from isthmus.gateway.store.unit_of_work import BufferedUnitOfWork

_logger = logging.getLogger(__name__)

MOST_COMMANDS = 256
# Each time another gateway was faster. What was looked up is locked in the next run: it cannot go on long.
MOST_RUNS = 20
RETRY_AFTER_SECONDS = 1.0

Outcome = Any
"""What a command returned, and what is committed; or why nothing is known to be committed."""


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
    next group begins on a new connection, so that the store works again as soon as the database does. A group
    that lost a race against another gateway runs again.
    """

    def __init__(self, transactions: Transactions, deliver: Deliver, watch: CommitWatcher) -> None:
        self._transactions = transactions
        # What makes a transaction useless, to the command that met it and to the others.
        self._breaks: tuple[type[Exception], ...] = (*transactions.errors, LostRaceError)
        self._lost_races: tuple[type[Exception], ...] = (*transactions.lost_races, LostRaceError)
        self._is_away: tuple[type[Exception], ...] = (*self._breaks, GatewayError, OSError)
        self._deliver = deliver
        self._watch = watch
        self._queue: queue.SimpleQueue[Sequence[Submission] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="isthmus-store-writer", daemon=True)
        self.trouble = CommitTrouble()

    def start(self) -> None:
        """Connect, then start the thread.

        Raises:
            ConfigurationError: the connection is not durable.
            Exception: of the driver, the database cannot be opened.
        """
        self._transactions.connect()
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
        self._transactions.disconnect()

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
        except self._transactions.unstorable:
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
            except self._transactions.unstorable as error:
                outcome = error
            else:
                signals += told
            outcomes.append(outcome)
        return signals, [(submission.handle, outcomes)]

    def _try_commit(self, submissions: Sequence[Submission]) -> tuple[Sequence[Signal], list[list[Outcome]]]:
        """Commit, or say of every command why it was not. Raises what tells that a value is unstorable."""
        try:
            return self._commit(submissions)
        except self._transactions.unstorable:
            raise
        except self._is_away as error:
            self.trouble.failed(
                error.__cause__ or error, sum(len(submission.commands) for submission in submissions)
            )
            failure: BaseException = error if isinstance(error, InDoubtError) else _unavailable(error)
        except BaseException as error:
            _logger.exception("the writer failed; what it was to commit is refused")
            failure = error
        return [], [[failure] * len(submission.commands) for submission in submissions]

    def _commit(self, submissions: Sequence[Submission]) -> tuple[Sequence[Signal], list[list[Outcome]]]:
        began = time.perf_counter()
        group, outcomes = self._run_until_committed(submissions)
        self.trouble.succeeded()
        self._watch(sum(len(results) for results in outcomes), time.perf_counter() - began)
        return group.signals, outcomes

    def _run_until_committed(self, submissions: Sequence[Submission]) -> tuple[Group, list[list[Outcome]]]:
        """Run the commands and commit; again, on fresh reads, as often as another gateway is faster.

        Raises:
            LostRaceError: it was too often.
        """
        reads = [key for submission in submissions for key in submission.reads]
        count = sum(len(submission.commands) for submission in submissions)
        scopes = NO_SCOPES
        for run in range(1, MOST_RUNS + 1):
            group: Group | None = None
            try:
                group = self._transactions.begin(count, reads, scopes)
                outcomes = [
                    [self._run_command(group, command) for command in submission.commands]
                    for submission in submissions
                ]
                if group.has_audit:
                    group.signals.append(AuditAppended())
                self._transactions.commit(group, prove=self.trouble.lasts)
            except self._lost_races as lost:
                self._transactions.abandon()
                if run == MOST_RUNS:
                    raise
                scopes |= lost.scopes if isinstance(lost, LostRaceError) else NO_SCOPES
                if group is not None:
                    reads = [*reads, *group.asked_for]
            except BaseException:
                self._transactions.abandon()
                raise
            else:
                return group, outcomes
        raise AssertionError

    def _run_command(self, group: Group, command: Command[Any]) -> Outcome:
        buffer = Buffer(group)
        try:
            result = command(BufferedUnitOfWork(buffer))
        except self._breaks:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for who asked
            buffer.drop()
            return error
        buffer.keep()
        return result


def _take_group(waiting: deque[Submission]) -> list[Submission]:
    """Take what shares a commit: as much as a group holds, at least one submission."""
    group: list[Submission] = []
    count = 0
    while waiting and (not group or count + len(waiting[0].commands) <= MOST_COMMANDS):
        submission = waiting.popleft()
        group.append(submission)
        count += len(submission.commands)
    return group


def _unavailable(error: BaseException) -> UnavailableError:
    unavailable = UnavailableError(
        "the store cannot commit now; nothing was changed",
        reason="STORE_UNAVAILABLE",
        fix="Look into the gateway's log: its disk may be full, or its database away.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
    unavailable.__cause__ = error
    return unavailable
