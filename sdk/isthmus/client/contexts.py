"""What a caller wants to have back with an operation: sealed to its own namespace, bound to the operation.

The gateway keeps it and cannot read it; the handler never gets it. Whether the gateway returns all of them
nobody can prove, but each that it returns was sealed by this namespace for this very operation.
"""

from isthmus.client.answer import KnownRequest, check_operation_id
from isthmus.client.errors import UnverifiedAnswerError
from isthmus.client.flows import START_TIMEOUT_SECONDS, Clock, Flow, Send
from isthmus.client.request import Caller, Prepared
from isthmus.envelope.errors import EnvelopeRejectedError, KeyUnavailableError
from isthmus.envelope.expected import Expected
from isthmus.envelope.identity import random_message_id
from isthmus.envelope.open import open_envelope
from isthmus.envelope.seal import RecipientKey, seal
from isthmus.payload.converter import BYTES
from isthmus.payload.payload import Payload
from isthmus.v1 import operation_service_pb2
from isthmus.wire.header import Direction
from isthmus.wire.names import format_operation_id


def seal_context(caller: Caller, context: bytes, prepared: Prepared) -> bytes:
    """Seal a context for a request that was just sealed. Raises NeverSealError."""
    asked, own = prepared.sealed.header, caller.namespace
    signer = caller.keyring.signing_key()
    header = asked._replace(
        direction=Direction.CONTEXT,
        sender_key_id=signer.key_id,
        recipient_namespace=asked.sender_namespace,
        message_id=random_message_id(),
        request_digest=prepared.sealed.digest,
        expires_at_ms=0,
        schedule_to_start_timeout_ms=0,
        start_to_close_timeout_ms=0,
        schedule_to_close_timeout_ms=0,
        recipients=(own,),
        labels=(),
        contract_hash=b"",
        fingerprint=b"",
        start_at_ms=0,
    )
    recipient = RecipientKey(namespace=own, key=caller.keyring.sealing_key())
    payload = Payload(content_type=BYTES, data=context)
    return seal(header, payload, signer=signer, recipients=(recipient,)).envelope


def contexts_flow(caller: Caller, request: KnownRequest, clock: Clock) -> Flow[list[bytes]]:
    """Return the contexts of an operation of this namespace, as its starts gave them.

    Raises:
        UnverifiedAnswerError: one of them is not of this namespace, or of another operation.
    """
    operation_id = request.header.operation_id
    wait = operation_service_pb2.WaitOperationRequest(operation_id=operation_id, include_contexts=True)
    reply = yield Send(
        call=operation_service_pb2.SessionCall(wait=wait), timeout_seconds=START_TIMEOUT_SECONDS
    )
    status = reply.wait.status
    check_operation_id(status, operation_id)
    return [_open(caller, envelope, request, clock) for envelope in status.contexts]


def _open(caller: Caller, envelope: bytes, request: KnownRequest, clock: Clock) -> bytes:
    asked, own = request.header, caller.namespace
    expected = Expected(
        directions=frozenset({Direction.CONTEXT}),
        trust_domain=asked.trust_domain,
        sender_namespace=own,
        recipient_namespace=own,
        endpoint=asked.endpoint,
        service=asked.service,
        operation=asked.operation,
        operation_id=asked.operation_id,
        # Starts that attached sealed theirs beside a request that nobody keeps.
        request_digest=None,
    )
    for attempt in (1, 2):
        try:
            opened = open_envelope(
                envelope,
                expected=expected,
                sender_keys=caller.keyring.own_keys(),
                decrypter=caller.keyring,
                namespace=own,
                now_ms=clock.now_ms(),
            )
        except EnvelopeRejectedError as error:
            raise UnverifiedAnswerError(format_operation_id(asked.operation_id), "a context") from error
        except KeyUnavailableError:
            if attempt == 2 or not caller.keyring.refresh():  # noqa: PLR2004
                raise
        else:
            return opened.payload.data
    raise AssertionError
