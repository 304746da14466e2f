"""Reads of signals on their way: what running tasks want, asked for on each connection, verified in order.

A read names the signals that a task has, so it can be repeated on the next connection. Each attempt reads all
signals from the first: only so can it see that none is missing.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from isthmus.envelope.errors import EnvelopeRejectedError, KeyUnavailableError
from isthmus.envelope.open import Opened
from isthmus.envelope.replay import Delivery, SequenceGuard
from isthmus.payload.converter import PayloadConverter
from isthmus.transport.errors import GatewayError, NotFoundError, PreconditionFailedError
from isthmus.transport.status import error_from_status
from isthmus.v1 import worker_service_pb2
from isthmus.wire.names import format_operation_id
from isthmus.worker.envelopes import RequestFacts
from isthmus.worker.errors import SignalRefusedError, UntrustedNamespaceError
from isthmus.worker.signals import Signal, SignalInbox, signal_of
from isthmus.worker.tasks import RunningTask, TaskKey, key_of

logger = logging.getLogger("isthmus.worker")

AGAIN_SECONDS = 1.0


class SignalOpener(Protocol):
    """Opens signals."""

    async def open_signal(self, data: bytes, *, request: RequestFacts) -> Opened:
        """Return the signal. Raises EnvelopeRejectedError, KeyUnavailableError, UntrustedNamespaceError."""
        ...


@dataclass(slots=True, eq=False)
class _Entry:
    running: RunningTask
    request: RequestFacts
    inbox: SignalInbox
    received: int = 0
    guard: SequenceGuard = field(default_factory=SequenceGuard)
    opening: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None


class SignalReads:
    """The reads of one worker. Lives on its event loop; handlers begin them from their threads too."""

    def __init__(self, opener: SignalOpener, converter: PayloadConverter) -> None:
        self._opener = opener
        self._converter = converter
        self._entries: dict[TaskKey, _Entry] = {}
        self._to_send: dict[TaskKey, None] = {}
        self._wanted = asyncio.Event()
        self._wake: Callable[[], None] = _nothing
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` whenever there is something to ask, from now on, on the running loop."""
        self._wake = wake
        self._loop = asyncio.get_running_loop()

    def begin(self, running: RunningTask, request: RequestFacts, inbox: SignalInbox) -> None:
        """Read signals of a task into its inbox. From any thread; repeating it changes nothing."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._begin, running, request, inbox)

    def forget(self, running: RunningTask, inbox: SignalInbox) -> None:
        """The task has ended, or is to stop."""
        inbox.close()
        entry = self._entries.get(running.key)
        if entry is not None and entry.running is running:
            self._drop(entry)

    def take(self) -> list[worker_service_pb2.SignalRead]:
        """Return what to ask now."""
        if not self._to_send:
            return []
        asked, self._to_send = self._to_send, {}
        return [self._read(self._entries[key]) for key in asked]

    def send_all_again(self) -> None:
        """Ask everything again: the connection that would have answered is gone."""
        self._to_send = {key: None for key, entry in self._entries.items() if entry.opening is None}
        self._wanted.set()

    def receive(self, answers: Iterable[worker_service_pb2.TaskSignals]) -> None:
        """Take in what the gateway sent."""
        for answer in answers:
            entry = self._entries.get(key_of(answer.task))
            if entry is None or entry.opening is not None:
                continue
            if answer.error:
                self._refused(entry, error_from_status(answer.error), attempt=answer.task.attempt)
            elif answer.signals and answer.first == entry.received + 1:
                job = self._open(entry, list(answer.signals))
                entry.opening = asyncio.get_running_loop().create_task(job)
            else:
                self._again(entry)

    def failed(self, read: worker_service_pb2.SignalRead, error: GatewayError) -> None:
        """Go on after a read that was refused, or did not arrive."""
        entry = self._entries.get(key_of(read.task))
        if entry is not None and entry.opening is None:
            self._refused(entry, error, attempt=read.task.attempt)

    async def wanted(self) -> None:
        """Return when there is something to ask."""
        await self._wanted.wait()
        self._wanted.clear()

    def _begin(self, running: RunningTask, request: RequestFacts, inbox: SignalInbox) -> None:
        if running.key in self._entries or running.job is None or running.job.done():
            return
        entry = self._entries[running.key] = _Entry(running, request, inbox)
        self._again(entry)

    def _read(self, entry: _Entry) -> worker_service_pb2.SignalRead:
        return worker_service_pb2.SignalRead(task=entry.running.outcome().task, after=entry.received)

    def _again(self, entry: _Entry) -> None:
        entry.timer = None
        if self._entries.get(entry.running.key) is entry:
            self._to_send[entry.running.key] = None
            self._wanted.set()
            self._wake()

    async def _open(self, entry: _Entry, envelopes: list[bytes]) -> None:
        try:
            entry.inbox.put([signal for data in envelopes for signal in await self._opened(entry, data)])
        except (EnvelopeRejectedError, KeyUnavailableError, UntrustedNamespaceError) as error:
            why = error.reason if isinstance(error, EnvelopeRejectedError) else error
            shown = format_operation_id(entry.running.task.operation_id)
            logger.warning("a signal of %s is refused: %s", shown, why)
            self._drop(entry)
            entry.inbox.fail(
                SignalRefusedError(f"a signal of {shown} cannot be verified; see the worker's log")
            )
            return
        entry.opening = None
        entry.received += len(envelopes)
        self._again(entry)

    async def _opened(self, entry: _Entry, data: bytes) -> list[Signal]:
        """Return a signal that is the next of its sender, nothing for one that was received before."""
        opened = await self._opener.open_signal(data, request=entry.request)
        if entry.guard.admit(opened.header, opened.digest) is Delivery.REPEATED:
            return []
        return [signal_of(opened, self._converter)]

    def _refused(self, entry: _Entry, error: GatewayError, *, attempt: int) -> None:
        is_gone = isinstance(error, NotFoundError | PreconditionFailedError)
        # Lost and delivered again to this very process while it ran, it goes on under its new attempt.
        if is_gone and attempt >= entry.running.attempt:
            self._drop(entry)
            return
        if not (is_gone or error.retryable):
            logger.warning("signals cannot be read: %s", error)
        loop = asyncio.get_running_loop()
        entry.timer = loop.call_later(error.retry_after_seconds or AGAIN_SECONDS, self._again, entry)

    def _drop(self, entry: _Entry) -> None:
        key = entry.running.key
        if self._entries.get(key) is entry:
            del self._entries[key]
            self._to_send.pop(key, None)
        if entry.timer is not None:
            entry.timer.cancel()
        if entry.opening is not None and entry.opening is not asyncio.current_task():
            entry.opening.cancel()


def _nothing() -> None:
    """Nobody is there to ask anything yet."""
