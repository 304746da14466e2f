"""What others seal to a namespace that neither calls nor handles: an escrow goes through it, and opens it.

Nobody can verify a wrap for somebody else, so whether an escrow can really read is known only once it has
tried. What it knows by itself: its own key, whom it pinned, and whose an endpoint is.
"""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from isthmus.client.client import Client
from isthmus.envelope.errors import EnvelopeRejectedError, KeyUnavailableError
from isthmus.envelope.expected import Expected
from isthmus.envelope.open import open_envelope
from isthmus.keys.errors import KeysError
from isthmus.payload.payload import Payload
from isthmus.transport.errors import NotFoundError
from isthmus.v1 import key_service_pb2, key_service_pb2_grpc
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.errors import WireFormatError
from isthmus.wire.header import FROM_CALLER, Direction, Header

_TIMEOUT_SECONDS = 30.0


class ReadAlong(NamedTuple):
    """One message of others: opened, or why not."""

    place: str
    """Where the gateway keeps it, opaque."""
    header: Header | None
    """None when it is no message at all."""
    payload: Payload | None
    """None when it does not open."""
    problem: str
    """Why it does not open; empty when it does."""


async def messages_of_others(client: Client) -> AsyncIterator[ReadAlong]:
    """Go through everything that is kept for the client's namespace as a third one, and open it.

    An answer counts only for the request that is kept beside it. Raises GatewayError.
    """
    # The messages of an operation come one after the other, the request first.
    asked: tuple[bytes, bytes] | None = None
    async for place in _places(client):
        try:
            envelope = await _fetch(client, place)
        except NotFoundError:
            # Its retention ended meanwhile.
            continue
        found, digest = await _opened(client, place, envelope)
        header = found.header
        if header is None:
            yield found
            continue
        if client.namespace in {header.sender_namespace, header.recipient_namespace}:
            continue
        if header.direction is Direction.REQUEST:
            asked = (header.operation_id, digest)
        elif asked is None or asked[0] != header.operation_id:
            alone = "the request that it belongs to is not shown"
            found = found._replace(payload=None, problem=found.problem or alone)
        elif asked[1] != header.request_digest:
            other = "it answers another request than the one kept here"
            found = found._replace(payload=None, problem=found.problem or other)
        yield found


async def message_of_others(client: Client, place: str) -> ReadAlong:
    """Open one message. Raises GatewayError when it is gone, or is not for the client's namespace."""
    found, _ = await _opened(client, place, await _fetch(client, place))
    return found


async def _places(client: Client) -> AsyncIterator[str]:
    request = key_service_pb2.ListSealedMessagesRequest()
    while True:
        page = await client.connection.call_retrying(
            _stub(client).ListSealedMessages, request, timeout_seconds=_TIMEOUT_SECONDS
        )
        for message in page.messages:
            yield message.place
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def _fetch(client: Client, place: str) -> bytes:
    request = key_service_pb2.GetSealedMessageRequest(place=place)
    answer = await client.connection.call_retrying(
        _stub(client).GetSealedMessage, request, timeout_seconds=_TIMEOUT_SECONDS
    )
    envelope: bytes = answer.envelope
    return envelope


def _stub(client: Client) -> Any:  # noqa: ANN401 - as grpcio types it
    return key_service_pb2_grpc.KeyServiceStub(client.connection.channel)


async def _opened(client: Client, place: str, data: bytes) -> tuple[ReadAlong, bytes]:
    """Open a message as far as it can be; return its digest, too."""
    try:
        envelope = parse_envelope(data)
    except WireFormatError as error:
        return ReadAlong(place, None, None, f"it is no message: {error}"), b""
    header = envelope.header
    try:
        payload = await _payload(client, header, data)
    except EnvelopeRejectedError as error:
        return ReadAlong(place, header, None, f"it does not open: {error.reason}"), envelope.digest
    except (KeyUnavailableError, KeysError) as error:
        return ReadAlong(place, header, None, str(error)), envelope.digest
    return ReadAlong(place, header, payload, ""), envelope.digest


async def _payload(client: Client, header: Header, data: bytes) -> Payload:
    is_for_handler = header.direction in FROM_CALLER
    handler = client.consents.namespace_of_endpoint(header.endpoint)
    keys = await client.key_directory.keyset(header.sender_namespace)
    return open_envelope(
        data,
        expected=Expected(
            directions=frozenset({header.direction}),
            trust_domain=client.trust_domain,
            sender_namespace=header.sender_namespace if is_for_handler else handler,
            recipient_namespace=handler if is_for_handler else header.recipient_namespace,
            endpoint=header.endpoint,
            service=header.service,
            operation=header.operation,
            operation_id=header.operation_id,
            request_digest=header.request_digest,
            recipients=header.recipients,
        ),
        sender_keys=keys,
        decrypter=client.keyring,
        namespace=client.namespace,
        # It is read whenever it is read: what has expired was in time once.
        now_ms=header.issued_at_ms,
    ).payload
