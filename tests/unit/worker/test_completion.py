"""Operations that another process ends."""

import nexusrpc
import pytest
from tests.unit.worker.gateway import Gateway
from tests.unit.worker.parties import Caller, HandlerClient
from tests.unit.worker.services import Charge, Receipt

from isthmus.envelope.identity import random_message_id
from isthmus.envelope.seal import RecipientKey, Sealed, seal
from isthmus.payload.converter import DefaultPayloadConverter
from isthmus.payload.payload import Payload
from isthmus.v1 import worker_service_pb2
from isthmus.wire.envelope import encode_envelope, parse_envelope
from isthmus.wire.header import Direction, Header
from isthmus.wire.names import format_operation_id
from isthmus.worker import CompletionRefusedError, UntrustedNamespaceError, complete

CONVERTER = DefaultPayloadConverter()


async def test_result_is_sealed_under_the_signed_request_when_an_operation_completes(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """The outcome answers the request that the caller signed, even one that has expired meanwhile."""
    request = caller.request("settle", Charge("o", 1), expires_in_ms=-1)
    gateway.request = worker_service_pb2.GetRequestResponse(request=request.envelope)
    await complete(
        client,
        format_operation_id(request.header.operation_id),
        caller_namespace="data-team",
        result=Receipt("o", "later"),
    )
    (completion,) = gateway.completed
    opened = caller.open(completion.envelope, request, Direction.RESULT)
    assert CONVERTER.from_payload(opened.payload, Receipt) == Receipt("o", "later")


@pytest.mark.parametrize(
    ("error", "direction"),
    [
        (nexusrpc.OperationError("no", state=nexusrpc.OperationErrorState.FAILED), Direction.FAILURE),
        (nexusrpc.OperationError("no", state=nexusrpc.OperationErrorState.CANCELED), Direction.CANCELED),
        (ValueError("no"), Direction.FAILURE),
    ],
)
async def test_error_decides_the_direction_when_an_operation_fails(
    gateway: Gateway, client: HandlerClient, caller: Caller, error: Exception, direction: Direction
) -> None:
    """Canceled is canceled, everything else failed."""
    request = caller.request("settle", Charge("o", 1))
    gateway.request = worker_service_pb2.GetRequestResponse(request=request.envelope)
    operation_id = format_operation_id(request.header.operation_id)
    await complete(client, operation_id, caller_namespace="data-team", error=error)
    assert caller.open(gateway.completed[0].envelope, request, direction).digest


async def test_nothing_is_sent_when_the_request_does_not_verify(
    gateway: Gateway, client: HandlerClient, caller: Caller, stranger: Caller
) -> None:
    """Neither a changed request, nor one of another operation, nor a stranger's gets a result."""
    request = caller.request("settle", Charge("o", 1))
    other = caller.request("settle", Charge("o", 1))
    parsed = parse_envelope(request.envelope)
    changed = encode_envelope(parsed._replace(signature=bytes(64)))
    by_stranger = stranger.request("settle", Charge("o", 1), operation_id=request.header.operation_id)
    operation_id = format_operation_id(request.header.operation_id)
    for envelope in (changed, other.envelope, by_stranger.envelope):
        gateway.request = worker_service_pb2.GetRequestResponse(request=envelope)
        with pytest.raises(CompletionRefusedError, match="nothing was sent"):
            await complete(client, operation_id, caller_namespace="data-team", result=None)
    with pytest.raises(UntrustedNamespaceError, match="isthmus trust add stranger"):
        await complete(client, operation_id, caller_namespace="stranger", result=None)
    assert gateway.completed == []


async def test_completion_is_refused_when_it_has_two_endings(client: HandlerClient) -> None:
    """A result and an error contradict each other."""
    with pytest.raises(ValueError, match="not with both"):
        await complete(
            client,
            format_operation_id(bytes(16)),
            caller_namespace="data-team",
            result=1,
            error=ValueError(),
        )


def started_for(request: Sealed, client: HandlerClient, token: bytes) -> bytes:
    """Return the token of a request as its handler sealed it to its own namespace."""
    asked = request.header
    header = Header(
        direction=Direction.STARTED,
        trust_domain=asked.trust_domain,
        sender_namespace=client.namespace,
        sender_key_id=client.keyring.signing_key().key_id,
        principal=client.principal,
        recipient_namespace=client.namespace,
        endpoint=asked.endpoint,
        service=asked.service,
        operation=asked.operation,
        operation_id=asked.operation_id,
        message_id=random_message_id(),
        request_digest=request.digest,
        issued_at_ms=asked.issued_at_ms,
        recipients=(client.namespace,),
    )
    recipient = RecipientKey(namespace=client.namespace, key=client.keyring.sealing_key())
    payload = Payload(content_type="application/octet-stream", data=token)
    signer = client.keyring.signing_key()
    return seal(header, payload, signer=signer, recipients=(recipient,)).envelope


async def test_nothing_is_sent_when_the_gateway_shows_another_operation_for_a_token(
    gateway: Gateway, client: HandlerClient, caller: Caller, stranger: Caller
) -> None:
    """Its token differs, is missing, was sealed for another request, or its caller is not trusted."""
    right, other = caller.request("settle", Charge("o", 1)), caller.request("settle", Charge("o", 2))
    by_stranger = stranger.request("settle", Charge("o", 1))
    token = b"job/1"
    shown = (
        (other, started_for(other, client, b"job/2")),
        (other, started_for(right, client, token)),
        (other, b""),
        (right, right.envelope),
    )
    for request, started in shown:
        gateway.request = worker_service_pb2.GetRequestResponse(
            request=request.envelope, operation_id=request.header.operation_id, started=started
        )
        with pytest.raises(CompletionRefusedError, match="nothing was sent"):
            await complete(client, token="job/1", result=None)
    gateway.request = worker_service_pb2.GetRequestResponse(
        request=by_stranger.envelope,
        operation_id=by_stranger.header.operation_id,
        started=started_for(by_stranger, client, token),
    )
    with pytest.raises(UntrustedNamespaceError):
        await complete(client, token="job/1", result=None)
    assert gateway.completed == []
    gateway.request = worker_service_pb2.GetRequestResponse(
        request=right.envelope,
        operation_id=right.header.operation_id,
        started=started_for(right, client, token),
    )
    await complete(client, token="job/1", result=None)
    assert [completed.operation_id for completed in gateway.completed] == [right.header.operation_id]
