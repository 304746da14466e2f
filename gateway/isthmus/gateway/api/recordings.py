"""What the frames of one worker stream bring to be recorded: checked one by one, committed together.

What needs no waiting to be checked shares a commit with the rest of its frame; the others follow, each when
it is checked.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from isthmus.gateway.api.eager import run_now
from isthmus.gateway.api.task_outcomes import Prepared, Ref, Refusal
from isthmus.gateway.core.errors import GatewayError

# One commit after the other: nobody else waits for all of a large frame.
MAX_PER_COMMIT = 128

RecordAll = Callable[[Sequence[Prepared]], "asyncio.Future[list[Refusal]]"]


class AboutTask(Protocol):
    """A message about a task."""

    @property
    def task(self) -> Ref:
        """The task."""
        ...


MessageT = TypeVar("MessageT", bound=AboutTask)


class Recordings(Generic[MessageT]):
    """One kind of message of one stream. Lives on the event loop."""

    def __init__(
        self,
        *,
        prepare: Callable[[MessageT], Coroutine[Any, Any, Prepared]],
        record_all: RecordAll,
        acknowledge: Callable[[Ref, Refusal], None],
        settled: Callable[[], None],
    ) -> None:
        """Call ``acknowledge`` with what came of each message, and ``settled`` after some of them."""
        self._prepare = prepare
        self._record_all = record_all
        self._acknowledge = acknowledge
        self._settled = settled
        self._preparing: set[asyncio.Task[Prepared]] = set()
        self.under_way = 0

    def take(self, messages: Iterable[MessageT]) -> None:
        """Check messages, and record together those that need not wait for anything before that."""
        checked: list[tuple[Ref, Prepared]] = []
        for message in messages:
            task = message.task
            try:
                prepared = run_now(self._prepare(message))
            except Exception as error:  # noqa: BLE001 - whatever it is becomes a status
                self._acknowledge(task, error)
                continue
            if isinstance(prepared, asyncio.Task):
                self.under_way += 1
                self._preparing.add(prepared)
                prepared.add_done_callback(partial(self._prepared, task))
            else:
                checked.append((task, prepared))
        for first in range(0, len(checked), MAX_PER_COMMIT):
            self._record(checked[first : first + MAX_PER_COMMIT])
        self._settled()

    def _prepared(self, task: Ref, job: "asyncio.Task[Prepared]") -> None:
        self._preparing.discard(job)
        self.under_way -= 1
        error = job.exception()
        if error is None:
            self._record([(task, job.result())])
        else:
            self._acknowledge(task, error)
        self._settled()

    def _record(self, checked: Sequence[tuple[Ref, Prepared]]) -> None:
        tasks = [task for task, _ in checked]
        try:
            job = self._record_all([prepared for _, prepared in checked])
        except GatewayError as error:
            for task in tasks:
                self._acknowledge(task, error)
            return
        self.under_way += len(tasks)
        job.add_done_callback(partial(self._recorded, tasks))

    def _recorded(self, tasks: Sequence[Ref], job: "asyncio.Future[list[Refusal]]") -> None:
        self.under_way -= len(tasks)
        for task, refusal in zip(tasks, job.result(), strict=True):
            self._acknowledge(task, refusal)
        self._settled()
