"""Signals to an operation: numbered without a gap, each durable before the next one is sent."""

import os
from typing import Final

from isthmus.client.answer import KnownRequest
from isthmus.client.errors import ConfigurationError, PayloadTooLargeError, UnverifiedAnswerError
from isthmus.client.flows import (
    START_TIMEOUT_SECONDS,
    Clock,
    Flow,
    PeerKeys,
    Send,
    recipients_of,
    with_current_keys,
)
from isthmus.client.request import Caller, header_about
from isthmus.envelope.seal import seal
from isthmus.payload.payload import Payload
from isthmus.v1 import operation_service_pb2
from isthmus.wire import limits
from isthmus.wire.header import SESSION_BYTES, Direction
from isthmus.wire.names import SIGNAL_NAME_HEADER, format_operation_id

MAX_NAME_CHARS: Final = 200
_GRACE_MS: Final = 3_600_000


class SignalLine:
    """Where this process stands in its signals to one operation."""

    def __init__(self) -> None:
        self.session = os.urandom(SESSION_BYTES)
        self.sent = 0


def signal_payload(name: str, payload: Payload) -> Payload:
    """Return a signal as it is sealed, its name included.

    Raises:
        ConfigurationError: the name is empty, too long or not printable.
        PayloadTooLargeError: the value is too large.
    """
    if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise ConfigurationError(f"the name of a signal is 1 to {MAX_NAME_CHARS} printable characters")
    if len(payload.data) > limits.MAX_REPORT_BYTES:
        raise PayloadTooLargeError(
            f"a signal is at most {limits.MAX_REPORT_BYTES} bytes, this one has {len(payload.data)}: "
            "put the data where both teams can reach it, and send where that is"
        )
    return payload._replace(
        headers=tuple(sorted({**dict(payload.headers), SIGNAL_NAME_HEADER: name}.items()))
    )


def signal_flow(
    caller: Caller, request: KnownRequest, line: SignalLine, payload: Payload, clock: Clock
) -> Flow[None]:
    """Send the next signal: durable once this returns. If this raises, the line must not be used any more."""
    asked = request.header
    sequence = line.sent + 1

    def attempt(keys: PeerKeys) -> Flow[None]:
        recipients = yield from recipients_of(caller, asked, keys)
        signer, now_ms = caller.keyring.signing_key(), clock.now_ms()
        header = header_about(
            asked,
            Direction.SIGNAL,
            caller=caller,
            sender_key_id=signer.key_id,
            request_digest=request.digest,
            now_ms=now_ms,
            # Every later attempt reads it again, as long as the operation lives.
            expires_at_ms=max(now_ms, asked.issued_at_ms + asked.schedule_to_close_timeout_ms) + _GRACE_MS,
        )._replace(sender_session=line.session, sequence=sequence)
        sealed = seal(header, payload, signer=signer, recipients=recipients)
        call = operation_service_pb2.SessionCall()
        call.signal.envelope = sealed.envelope
        reply = yield Send(call=call, timeout_seconds=START_TIMEOUT_SECONDS, size_bytes=len(sealed.envelope))
        if reply.signal.operation_id != asked.operation_id:
            raise UnverifiedAnswerError(format_operation_id(asked.operation_id), "the answer")

    yield from with_current_keys(asked.recipient_namespace, attempt)
    line.sent = sequence
