"""What the gateway keeps for one's own namespace, page by page."""

from collections.abc import Iterator, Sequence

from isthmus.cli.connection import GatewayConnection
from isthmus.keys.needed import KeptMessage, Need, NewWrap
from isthmus.v1 import key_service_pb2, key_service_pb2_grpc


class GatewayMessages:
    """Lists and rewraps over a connection. A ``KeptMessages``."""

    def __init__(self, gateway: GatewayConnection) -> None:
        self._gateway = gateway

    def messages(self, *, key_id: bytes = b"", with_wraps: bool = False) -> Iterator[KeptMessage]:
        """Go through what is sealed to a key, or to any. Raises GatewayError."""
        request = key_service_pb2.ListSealedMessagesRequest(key_id=key_id, with_wraps=with_wraps)
        while True:
            answer = self._gateway.call(key_service_pb2_grpc.KeyServiceStub, "ListSealedMessages", request)
            for message in answer.messages:
                yield KeptMessage(
                    place=message.place,
                    key_id=message.key_id,
                    is_open=message.open,
                    header_hash=message.header_hash,
                    wrap=message.wrap,
                )
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def count(self, key_id: bytes) -> int:
        """Return how many messages are sealed to a key. Raises GatewayError."""
        return sum(1 for _ in self.messages(key_id=key_id))

    def need(self, key_id: bytes) -> Need:
        """Return how much is sealed to a key. Raises GatewayError."""
        still_open = [message.is_open for message in self.messages(key_id=key_id)]
        return Need(messages=len(still_open), open=sum(still_open))

    def replace(self, wraps: Sequence[NewWrap]) -> int:
        """Replace up to 64 wraps; return how many were replaced. Raises GatewayError."""
        rewraps = [
            key_service_pb2.Rewrap(
                place=wrap.message.place,
                header_hash=wrap.message.header_hash,
                old_key_id=wrap.message.key_id,
                new_key_id=wrap.key_id,
                wrap=wrap.wrap,
            )
            for wrap in wraps
        ]
        request = key_service_pb2.RewrapMessagesRequest(rewraps=rewraps)
        answer = self._gateway.call(key_service_pb2_grpc.KeyServiceStub, "RewrapMessages", request)
        return int(answer.replaced)
