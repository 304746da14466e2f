"""Outcomes on their way: kept until the gateway says that they are durable, sent again until then.

An outcome is sealed once, a second sending carries the same bytes. Only when one of its keys went out of use
before it arrived is the same content sealed again.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from isthmus.envelope.errors import EnvelopeRejectedError
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
from isthmus.wire import limits
from isthmus.wire.names import format_operation_id
from isthmus.worker.answer import Answer, rejected
from isthmus.worker.tasks import TaskKey, key_of

logger = logging.getLogger("isthmus.worker")

MAX_OUTCOMES_PER_FRAME = 256
# A frame may exceed this by one outcome, which is at most one envelope large.
MAX_OUTCOME_BYTES_PER_FRAME = limits.MAX_FRAME_BYTES - 2 * limits.MAX_ENVELOPE_BYTES
RESEND = Backoff(initial_seconds=0.2, maximum_seconds=10.0, jitter=0.0)


@dataclass(slots=True)
class _Kept:
    answer: Answer
    refusals: int = 0


class Outbox:
    """Holds outcomes in the order in which they were made. Lives on the worker's event loop."""

    def __init__(self, *, wake: Callable[[], None]) -> None:
        """Call ``wake`` whenever there is something new to send."""
        self._wake = wake
        self._kept: dict[TaskKey, _Kept] = {}
        self._to_send: dict[TaskKey, None] = {}
        self._sealing: set[asyncio.Task[None]] = set()
        self._emptied: asyncio.Event = asyncio.Event()
        self._emptied.set()

    def __len__(self) -> int:
        """How many outcomes are not acknowledged."""
        return len(self._kept)

    def put(self, key: TaskKey, answer: Answer) -> None:
        """Send the outcome of a task as soon as possible."""
        self._kept[key] = _Kept(answer)
        self._to_send[key] = None
        self._emptied.clear()
        self._wake()

    def take(self) -> list[worker_service_pb2.TaskOutcome]:
        """Return what to send now: everything that waits, up to the size of a frame."""
        if not self._to_send:
            return []
        taken: list[worker_service_pb2.TaskOutcome] = []
        size = 0
        for key in list(self._to_send):
            if len(taken) == MAX_OUTCOMES_PER_FRAME or size > MAX_OUTCOME_BYTES_PER_FRAME:
                break
            del self._to_send[key]
            outcome = self._kept[key].answer.outcome
            size += outcome.ByteSize()
            taken.append(outcome)
        return taken

    def send_all_again(self) -> None:
        """Put everything that is not acknowledged back in line: the connection that carried it is gone."""
        self._to_send = dict.fromkeys(self._kept)
        self._wake()

    def answer_again(self, key: TaskKey, attempt: int) -> bool:
        """Answer a redelivered task with the outcome that it already has. Return whether it has one.

        The envelope of an outcome is bound to the request, not to the attempt, so it answers any attempt.
        """
        kept = self._kept.get(key)
        if kept is None:
            return False
        if attempt <= kept.answer.outcome.task.attempt:
            return True
        self._forget(key)
        if kept.answer.kind != "envelope":
            return False
        self.put(key, kept.answer.for_attempt(attempt))
        return True

    def acknowledge(self, ack: worker_service_pb2.OutcomeAck) -> None:
        """Forget an outcome that is durable or refused for good; send it again if the trouble passes."""
        key = key_of(ack.task)
        kept = self._kept.get(key)
        if kept is None or kept.answer.outcome.task.attempt != ack.task.attempt:
            return
        if not ack.error:
            self._forget(key)
            return
        error = error_from_status(ack.error)
        operation = format_operation_id(ack.task.operation_id)
        if error.retryable or isinstance(error, GatewayInternalError):
            self._later(self._send_again, key, kept, at_least_seconds=error.retry_after_seconds)
        elif _is_about_keys(error) and kept.answer.seal_again is not None:
            logger.info("outcome of %s is sealed again: %s", operation, error)
            self._later(self._begin_sealing, key, kept)
        elif isinstance(error, NotFoundError | PreconditionFailedError):
            logger.info("outcome of %s came too late and was dropped: %s", operation, error)
            self._forget(key)
        else:
            logger.error(
                "outcome of %s was refused: %s. The gateway delivers the task again", operation, error
            )
            self._give_up(key, kept)

    async def emptied(self) -> None:
        """Return when every outcome is acknowledged."""
        await self._emptied.wait()

    def _later(
        self,
        action: Callable[[TaskKey, _Kept], None],
        key: TaskKey,
        kept: _Kept,
        *,
        at_least_seconds: float | None = None,
    ) -> None:
        kept.refusals += 1
        wait = RESEND.delay_seconds(kept.refusals, 0, at_least_seconds=at_least_seconds)
        asyncio.get_running_loop().call_later(wait, action, key, kept)

    def _begin_sealing(self, key: TaskKey, kept: _Kept) -> None:
        job = asyncio.create_task(self._seal_again(key, kept))
        self._sealing.add(job)
        job.add_done_callback(self._sealing.discard)

    async def _seal_again(self, key: TaskKey, kept: _Kept) -> None:
        if kept.answer.seal_again is None:
            return
        try:
            envelope = await kept.answer.seal_again()
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no answer
            logger.warning(
                "outcome of %s cannot be sealed again: %s", format_operation_id(key.operation_id), error
            )
            if self._kept.get(key) is kept:
                self._give_up(key, kept)
            return
        kept.answer = kept.answer.with_envelope(envelope)
        self._send_again(key, kept)

    def _send_again(self, key: TaskKey, kept: _Kept) -> None:
        if self._kept.get(key) is kept:
            self._to_send[key] = None
            self._wake()

    def _give_up(self, key: TaskKey, kept: _Kept) -> None:
        """Say that there is no answer: leased to a living session, the task would stay here for good."""
        self._forget(key)
        if kept.answer.kind in {"envelope", "retry"}:
            self.put(key, rejected(kept.answer.outcome, EnvelopeRejectedError.code))

    def _forget(self, key: TaskKey) -> None:
        del self._kept[key]
        self._to_send.pop(key, None)
        if not self._kept:
            self._emptied.set()


def _is_about_keys(error: GatewayError) -> bool:
    """Tell whether another sealing helps: a key of the envelope is not the newest of its namespace."""
    return isinstance(error, KeyRetiredError) or error.reason == "SENDER_KEY_UNKNOWN"
