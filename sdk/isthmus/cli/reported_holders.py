"""What processes of one's own namespace told the gateway of their keys, page by page."""

from collections.abc import Sequence

from isthmus.cli.connection import GatewayConnection
from isthmus.cli.propagation import KeyHolder
from isthmus.transport.errors import UnsupportedError
from isthmus.v1 import key_service_pb2, key_service_pb2_grpc


class GatewayKeyHolders:
    """Asks over a connection. A ``KeyHolders``."""

    def __init__(self, gateway: GatewayConnection) -> None:
        self._gateway = gateway

    def holders(self) -> Sequence[KeyHolder] | None:
        """Return those who were there within a day; None when the gateway is older. Raises GatewayError."""
        found: list[KeyHolder] = []
        request = key_service_pb2.ListKeyHoldersRequest()
        while True:
            try:
                answer = self._gateway.call(key_service_pb2_grpc.KeyServiceStub, "ListKeyHolders", request)
            except UnsupportedError:
                return None
            found += [
                KeyHolder(
                    principal=holder.principal,
                    identity=holder.identity,
                    key_ids=frozenset(holder.key_ids),
                    is_alive=holder.alive,
                )
                for holder in answer.holders
            ]
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token
