"""What waits in a task queue of which some may not go out now: looked at task by task, and passed by.

Only queues in which something holds tasks up are read like this. Each lease goes on where the last one
stopped, so that what is held up is not looked at again and again, and looks at a bounded number of tasks.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

from isthmus.endpoints.versions import target_of
from isthmus.gateway.commands.circuits import is_held_up, lines_of, note_probe
from isthmus.gateway.core.circuit import Line
from isthmus.gateway.core.operation import Operation
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import QueueKey, Task, TaskKind, UnitOfWork

PAGE = 64
MOST_LOOKED_AT = 1024
# Callers all of whose tasks are held up must not hide the others.
MOST_CALLERS = 10_000


class Passed(Value):
    """How far a lease looked: up to which task of each caller, and whether that was all.

    ``has_passed_by`` says that it left tasks behind.
    """

    last: Mapping[str, Task] = {}
    is_complete: bool = True
    has_passed_by: bool = False


class PassingTasks:
    """``rotation.Line`` over what may go out, in the order in which it became ready."""

    def __init__(
        self,
        uow: UnitOfWork,
        queue: QueueKey,
        now: datetime,
        *,
        passed: Passed,
        opening: AbstractSet[Line],
        version: str | None,
    ) -> None:
        self._opening = opening
        self._version = version
        self._present: AbstractSet[str] | None = None
        self._has_passed_by = False
        self._uow = uow
        self._queue = queue
        self._now = now
        self._last = dict(passed.last)
        self._ahead: dict[str, list[tuple[Task, Operation]]] = {}
        self._at_end: set[str] = set()
        self._taken: dict[str, Operation] = {}
        self._left = MOST_LOOKED_AT
        self._is_complete = True

    def take(self, caller: str) -> Task | None:
        """Take the caller's next task that may go out; None when it has no more, or enough was looked at."""
        while True:
            following = self._next(caller)
            if following is None:
                return None
            task, operation = following
            self._last[caller] = task
            if not self._is_for_version(operation):
                self._has_passed_by = True
                continue
            # No circuit holds up a cancel: it has to arrive while its operation runs.
            if task.kind is TaskKind.START:
                if self._is_held_up(operation):
                    self._has_passed_by = True
                    continue
                note_probe(self._uow, operation)
            self._taken[caller] = operation
            return task

    def weight(self, caller: str) -> int:
        """How long the caller's turn is: its weight at the endpoint of the task that begins it."""
        endpoint = self._uow.endpoint(self._taken[caller].endpoint)
        return 1 if endpoint is None else endpoint.weight_of(caller)

    def passed(self) -> Passed:
        """Return how far this lease looked, to go on from once it is committed."""
        return Passed(
            last=self._last,
            is_complete=self._is_complete,
            has_passed_by=self._has_passed_by,
        )

    def _is_held_up(self, operation: Operation) -> bool:
        if self._opening and not self._opening.isdisjoint(lines_of(operation)):
            return True
        return is_held_up(self._uow, operation, self._now)

    def _is_for_version(self, operation: Operation) -> bool:
        if self._version is None:
            return True
        endpoint = self._uow.endpoint(operation.endpoint)
        if endpoint is None or not endpoint.versions:
            return True
        settings = endpoint.versions
        if self._present is None and settings.pin and operation.version:
            self._present = self._uow.present_versions(self._queue, self._now).keys()
        target = target_of(
            settings,
            operation.key.operation_id,
            begun_by=operation.version,
            present=self._present or frozenset(),
        )
        return target.takes(self._version)

    def _next(self, caller: str) -> tuple[Task, Operation] | None:
        ahead = self._ahead.get(caller)
        if not ahead:
            if caller in self._at_end:
                return None
            if self._left <= 0:
                self._is_complete = False
                return None
            ahead = self._look(caller)
            if not ahead:
                return None
        return ahead.pop(0)

    def _look(self, caller: str) -> list[tuple[Task, Operation]]:
        limit = min(PAGE, self._left)
        found: Sequence[tuple[Task, Operation]] = self._uow.tasks_ahead(
            self._queue, caller, self._now, limit, after=self._last.get(caller)
        )
        self._left -= len(found)
        if len(found) < limit:
            self._at_end.add(caller)
        ahead = self._ahead[caller] = list(found)
        return ahead
