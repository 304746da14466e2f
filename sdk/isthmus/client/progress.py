"""How far an operation is: progress that its handler sealed, verified, and never older than what was seen."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from isthmus.client.answer import KnownRequest, answer_expected
from isthmus.client.errors import UnverifiedAnswerError
from isthmus.client.flows import START_TIMEOUT_SECONDS, Clock, Flow, Send, with_newest_keys
from isthmus.client.request import Caller
from isthmus.envelope.errors import EnvelopeRejectedError, RejectionReason
from isthmus.envelope.expected import VerifiedKeys
from isthmus.envelope.open import Opened, open_envelope
from isthmus.payload.payload import Payload
from isthmus.v1 import operation_pb2, operation_service_pb2
from isthmus.wire.header import Direction
from isthmus.wire.names import format_operation_id

_PROGRESS: Final = frozenset({Direction.PROGRESS})
WATCH_WAIT: Final = timedelta(seconds=60)
"""How long one look waits for something newer; the gateway caps it."""

_TERMINAL: Final = frozenset(
    {
        operation_pb2.OPERATION_STATE_SUCCEEDED,
        operation_pb2.OPERATION_STATE_FAILED,
        operation_pb2.OPERATION_STATE_CANCELED,
        operation_pb2.OPERATION_STATE_TIMED_OUT,
        operation_pb2.OPERATION_STATE_DENIED,
    }
)


@dataclass(slots=True)
class ProgressSeen:
    """The latest progress of an operation that was verified here: the gateway may not go back behind it."""

    sequence: int = 0
    digest: bytes = b""

    def admit(self, opened: Opened) -> None:
        """Remember verified progress.

        Raises:
            EnvelopeRejectedError: it is older than what was seen, or another one has its number.
        """
        sequence = opened.header.sequence
        if sequence < self.sequence:
            raise EnvelopeRejectedError(RejectionReason.ORDER)
        if sequence == self.sequence and opened.digest != self.digest:
            raise EnvelopeRejectedError(RejectionReason.REPLAY)
        self.sequence, self.digest = sequence, opened.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What one look found: a payload, if there is one; whether the operation has ended, says the gateway."""

    payload: Payload | None = None
    sequence: int = 0
    ended: bool


def progress_flow(
    caller: Caller, request: KnownRequest, seen: ProgressSeen, clock: Clock, *, after: int, wait_ms: int
) -> Flow[Progress]:
    """Look for progress above a sequence, and wait for it.

    Raises:
        UnverifiedAnswerError: it is not what the handler signed for this request, or older than what was
        seen.
    """
    operation_id = request.header.operation_id
    call = operation_service_pb2.SessionCall()
    call.progress.operation_id = operation_id
    call.progress.after_sequence = after
    call.progress.wait_ms = wait_ms
    reply = yield Send(call=call, timeout_seconds=wait_ms / 1000 + START_TIMEOUT_SECONDS)
    response: operation_service_pb2.GetProgressResponse = reply.progress
    if response.operation_id != operation_id:
        raise UnverifiedAnswerError(format_operation_id(operation_id), "the answer")
    ended = response.state in _TERMINAL
    if not response.progress:
        return Progress(ended=ended)

    def verify(keys: VerifiedKeys) -> Opened:
        return _verified(response.progress, request, seen, caller=caller, keys=keys, clock=clock)

    opened = yield from with_newest_keys(request, verify, what="the progress")
    if opened.header.sequence <= after:
        # It was asked for what is newer: to see the same again and again is no progress.
        raise UnverifiedAnswerError(format_operation_id(operation_id), "the progress")
    return Progress(payload=opened.payload, sequence=opened.header.sequence, ended=ended)


def _verified(
    envelope: bytes,
    request: KnownRequest,
    seen: ProgressSeen,
    *,
    caller: Caller,
    keys: VerifiedKeys,
    clock: Clock,
) -> Opened:
    try:
        opened = open_envelope(
            envelope,
            expected=answer_expected(request, caller, _PROGRESS),
            sender_keys=keys,
            decrypter=caller.keyring,
            namespace=caller.namespace,
            now_ms=clock.now_ms(),
        )
        seen.admit(opened)
    except EnvelopeRejectedError as error:
        raise UnverifiedAnswerError(
            format_operation_id(request.header.operation_id), "the progress"
        ) from error
    return opened
