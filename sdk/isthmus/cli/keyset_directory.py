"""The gateway as the place where keysets are published."""

from isthmus.cli.connection import GatewayConnection
from isthmus.client.assembly import signed_keyset
from isthmus.keys.keyset import SignedKeyset
from isthmus.transport.errors import NotFoundError
from isthmus.v1 import key_service_pb2, key_service_pb2_grpc


class GatewayKeysets:
    """Publishes and fetches keysets. A ``KeysetDirectory``."""

    def __init__(self, gateway: GatewayConnection) -> None:
        self._gateway = gateway

    def newest(self, namespace: str) -> SignedKeyset | None:
        """Return the newest keyset of a namespace, None when there is none yet. Raises GatewayError."""
        request = key_service_pb2.GetKeysetRequest(namespace=namespace)
        try:
            response = self._gateway.call(key_service_pb2_grpc.KeyServiceStub, "GetKeyset", request)
        except NotFoundError:
            return None
        return signed_keyset(response)

    def publish(self, signed: SignedKeyset) -> None:
        """Publish the next keyset. Raises GatewayError."""
        message = key_service_pb2.SignedKeyset(
            keyset=signed.keyset, root_public_key=signed.root_public_key, signature=signed.signature
        )
        request = key_service_pb2.PublishKeysetRequest(keyset=message)
        self._gateway.call(key_service_pb2_grpc.KeyServiceStub, "PublishKeyset", request)
