"""What running tasks report before they have an outcome: sealed, throttled, sent until it is durable.

Of each task only the latest report counts, so at most one is on its way; what comes meanwhile waits and is
merged. A report that somebody waits for goes out at once, others at most once in an interval.
"""

import asyncio
import concurrent.futures
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from isthmus.payload.payload import Payload
from isthmus.transport.backoff import Backoff
from isthmus.transport.errors import (
    GatewayError,
    GatewayInternalError,
    KeyRetiredError,
    NotFoundError,
    PreconditionFailedError,
)
from isthmus.transport.status import error_from_status
from isthmus.v1 import worker_service_pb2
from isthmus.wire.header import SESSION_BYTES, Direction, progress_sequence
from isthmus.wire.names import format_operation_id
from isthmus.worker.envelopes import Place, RequestFacts, with_attempt
from isthmus.worker.errors import ReportRefusedError, TaskLostError
from isthmus.worker.reported import Reported
from isthmus.worker.tasks import RunningTask, Stop, TaskKey, key_of

logger = logging.getLogger("isthmus.worker")

DEFAULT_INTERVAL = timedelta(seconds=1)
MAX_REPORTS_PER_FRAME = 64
RESEND = Backoff(initial_seconds=0.2, maximum_seconds=10.0, jitter=0.0)

Future = concurrent.futures.Future[None]


class Sealer(Protocol):
    """Seals what tasks report."""

    async def seal(
        self,
        direction: Direction,
        payload: Payload,
        *,
        request: RequestFacts,
        newest_keys: bool = False,
        place: Place | None = None,
    ) -> bytes:
        """Return the envelope. Raises NeverSealError, KeyUnavailableError, UntrustedNamespaceError."""
        ...


@dataclass(slots=True, kw_only=True)
class Content:
    """What one report says. What it does not say is None."""

    details: Payload | None = None
    progress: Payload | None = None
    waiters: list[Future] = field(default_factory=list)

    def before(self, newer: "Content") -> "Content":
        """Return what both say together."""
        return Content(
            details=newer.details if newer.details is not None else self.details,
            progress=newer.progress if newer.progress is not None else self.progress,
            waiters=[*self.waiters, *newer.waiters],
        )


@dataclass(slots=True, eq=False)
class _Entry:
    running: RunningTask
    request: RequestFacts
    waiting: Content | None = None
    under_way: Content | None = None
    message: worker_service_pb2.TaskReport | None = None
    timer: asyncio.TimerHandle | None = None
    sealing: asyncio.Task[None] | None = None
    not_before: float = 0.0
    urgent: bool = False
    refusals: int = 0
    sealed: int = 0
    quiet: asyncio.Event = field(default_factory=asyncio.Event)


class Reports:
    """The reports of one worker. Lives on its event loop; handlers call from their threads too."""

    def __init__(self, sealer: Sealer, *, interval: timedelta = DEFAULT_INTERVAL) -> None:
        self._sealer = sealer
        self._interval_seconds = interval.total_seconds()
        self._entries: dict[TaskKey, _Entry] = {}
        self._to_send: dict[TaskKey, None] = {}
        self._session = os.urandom(SESSION_BYTES)
        self._wake: Callable[[], None] = _nothing
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` whenever there is something to send, from now on, on the running loop."""
        self._wake = wake
        self._loop = asyncio.get_running_loop()

    # --- the handler's side: any thread ---------------------------------------------------------------------

    def report(self, running: RunningTask, request: RequestFacts, content: Content) -> Reported:
        """Report something of a task that runs. Returns at once."""
        future: Future = concurrent.futures.Future()
        content.waiters.append(future)
        self._on_loop(lambda: self._add(running, request, content))
        return Reported(future, lambda: self._on_loop(lambda: self._hurry(running)))

    def _on_loop(self, action: Callable[[], None]) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        try:
            here = asyncio.get_running_loop() is loop
        except RuntimeError:
            here = False
        if here:
            action()
        else:
            loop.call_soon_threadsafe(action)

    # --- the worker's side: its event loop ------------------------------------------------------------------

    async def flush(self, running: RunningTask) -> None:
        """Return when everything that a task reported is durable, or nobody wants it any more."""
        entry = self._entries.get(running.key)
        if entry is not None and entry.running is running:
            self._hurry(running)
            await entry.quiet.wait()

    def forget(self, running: RunningTask) -> None:
        """The task has ended: what it reported and is not durable is dropped."""
        entry = self._entries.get(running.key)
        if entry is not None and entry.running is running:
            self._drop(entry, TaskLostError("the task has ended"))

    def take(self) -> list[worker_service_pb2.TaskReport]:
        """Return what to send now, up to the size of a frame's share."""
        taken: list[worker_service_pb2.TaskReport] = []
        for key in list(self._to_send):
            if len(taken) == MAX_REPORTS_PER_FRAME:
                break
            del self._to_send[key]
            message = self._entries[key].message
            if message is not None:
                taken.append(message)
        return taken

    def send_all_again(self) -> None:
        """Put what is not acknowledged back in line: the connection that carried it is gone."""
        self._to_send = {key: None for key, entry in self._entries.items() if entry.message is not None}

    def acknowledge(self, acks: Iterable[worker_service_pb2.ReportAck]) -> None:
        """Go on with what is durable or refused."""
        for ack in acks:
            entry = self._entries.get(key_of(ack.task))
            if entry is None or entry.message is None or entry.message.task.attempt != ack.task.attempt:
                continue
            self._to_send.pop(entry.running.key, None)
            if ack.error:
                self._refused(entry, error_from_status(ack.error))
            else:
                self._recorded(entry)

    def _add(self, running: RunningTask, request: RequestFacts, content: Content) -> None:
        entry = self._entries.get(running.key)
        if entry is None or entry.running is not running:
            if entry is not None:
                self._drop(entry, TaskLostError("the task was delivered again"))
            if running.job is None or running.job.done() or running.was_taken_away():
                _fail(content.waiters, TaskLostError("the task does not belong to this worker any more"))
                return
            entry = self._entries[running.key] = _Entry(running, request)
        entry.quiet.clear()
        entry.waiting = content if entry.waiting is None else entry.waiting.before(content)
        self._go_on(entry)

    def _hurry(self, running: RunningTask) -> None:
        entry = self._entries.get(running.key)
        if entry is None or entry.running is not running or entry.waiting is None:
            return
        entry.urgent = True
        # Not while the gateway asked for patience.
        if entry.timer is not None and not entry.refusals:
            entry.timer.cancel()
            entry.timer = None
        self._go_on(entry)

    def _go_on(self, entry: _Entry) -> None:
        """Send the next report, unless one is on its way or it is too early."""
        if entry.under_way is not None or entry.timer is not None or entry.waiting is None:
            return
        loop = asyncio.get_running_loop()
        early_seconds = entry.not_before - loop.time()
        if early_seconds > 0 and (entry.refusals or not entry.urgent):
            entry.timer = loop.call_later(early_seconds, self._due, entry)
            return
        entry.under_way, entry.waiting, entry.urgent = entry.waiting, None, False
        self._begin_sealing(entry, newest_keys=False)

    def _due(self, entry: _Entry) -> None:
        entry.timer = None
        self._go_on(entry)

    def _begin_sealing(self, entry: _Entry, *, newest_keys: bool) -> None:
        entry.sealing = asyncio.get_running_loop().create_task(self._seal(entry, newest_keys=newest_keys))

    async def _seal(self, entry: _Entry, *, newest_keys: bool) -> None:
        content, running = entry.under_way, entry.running
        if content is None:
            return
        message = worker_service_pb2.TaskReport(task=running.outcome().task)
        attempt = message.task.attempt
        seal = self._sealer.seal
        try:
            message.heartbeat.SetInParent()
            if content.details is not None:
                message.heartbeat.details = await seal(
                    Direction.DETAILS,
                    with_attempt(content.details, attempt),
                    request=entry.request,
                    newest_keys=newest_keys,
                )
            if content.progress is not None:
                entry.sealed += 1
                message.progress = await seal(
                    Direction.PROGRESS,
                    content.progress,
                    request=entry.request,
                    newest_keys=newest_keys,
                    place=Place(session=self._session, sequence=progress_sequence(attempt, entry.sealed)),
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no report
            self._give_up(entry, error)
            return
        if self._entries.get(running.key) is not entry:
            return
        entry.message = message
        self._to_send[running.key] = None
        self._wake()

    def _recorded(self, entry: _Entry) -> None:
        content, entry.under_way, entry.message = entry.under_way, None, None
        entry.refusals = 0
        entry.not_before = asyncio.get_running_loop().time() + self._interval_seconds
        if content is not None:
            for waiter in content.waiters:
                _resolve(waiter)
        self._next(entry)

    def _refused(self, entry: _Entry, error: GatewayError) -> None:
        running, message = entry.running, entry.message
        was_renamed = message is not None and message.task.attempt < running.attempt
        entry.message = None
        entry.refusals += 1
        is_gone = isinstance(error, NotFoundError | PreconditionFailedError)
        if isinstance(error, KeyRetiredError) or error.reason == "SENDER_KEY_UNKNOWN":
            self._begin_sealing_later(entry, error)
        elif is_gone and was_renamed:
            # Lost and delivered again to this very process while it ran: it reports under its new attempt.
            self._begin_sealing_later(entry, error)
        elif is_gone:
            shown = format_operation_id(running.task.operation_id)
            logger.info("the task of %s is not this worker's any more: %s", shown, error)
            self._drop(entry, TaskLostError(f"the task is not this worker's any more: {error}"))
            running.interrupt(Stop.LOST)
        elif error.retryable or isinstance(error, GatewayInternalError):
            # What was reported meanwhile replaces it.
            under_way = entry.under_way or Content()
            entry.waiting = under_way if entry.waiting is None else under_way.before(entry.waiting)
            entry.under_way = None
            entry.not_before = asyncio.get_running_loop().time() + self._patience_seconds(entry, error)
            self._go_on(entry)
        else:
            self._give_up(entry, error)

    def _begin_sealing_later(self, entry: _Entry, error: GatewayError) -> None:
        def seal_again() -> None:
            entry.timer = None
            self._begin_sealing(entry, newest_keys=True)

        loop = asyncio.get_running_loop()
        entry.timer = loop.call_later(self._patience_seconds(entry, error), seal_again)

    def _patience_seconds(self, entry: _Entry, error: GatewayError) -> float:
        return RESEND.delay_seconds(entry.refusals, 0, at_least_seconds=error.retry_after_seconds)

    def _give_up(self, entry: _Entry, error: Exception) -> None:
        """Drop one report; the task goes on, and may report again."""
        shown = format_operation_id(entry.running.task.operation_id)
        logger.warning("a report of the task of %s cannot be sent: %s", shown, error)
        content, entry.under_way, entry.message = entry.under_way, None, None
        entry.not_before = asyncio.get_running_loop().time() + self._interval_seconds
        if content is not None:
            refused = ReportRefusedError(f"what the task reported was refused: {error}")
            refused.__cause__ = error
            _fail(content.waiters, refused)
        self._next(entry)

    def _next(self, entry: _Entry) -> None:
        if entry.waiting is None:
            entry.quiet.set()
        else:
            self._go_on(entry)

    def _drop(self, entry: _Entry, error: Exception) -> None:
        key = entry.running.key
        if self._entries.get(key) is entry:
            del self._entries[key]
            self._to_send.pop(key, None)
        if entry.timer is not None:
            entry.timer.cancel()
        if entry.sealing is not None:
            entry.sealing.cancel()
        for content in (entry.under_way, entry.waiting):
            if content is not None:
                _fail(content.waiters, error)
        entry.under_way = entry.waiting = entry.message = None
        entry.quiet.set()


def _nothing() -> None:
    """Nobody is there to send anything yet."""


def _resolve(waiter: Future) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _fail(waiters: Iterable[Future], error: Exception) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error)
