"""The gateway as the place where keysets are published."""

from pathlib import Path

from isthmus.cli.connection import GatewayConnection
from isthmus.cli.moment import now_ms
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.publication import KeysetPublication
from isthmus.transport.errors import NotFoundError
from isthmus.v1 import key_service_pb2, key_service_pb2_grpc
from isthmus.wire.trust_statement import SignedKeyset, signed_keyset_message, signed_keyset_of


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
        return signed_keyset_of(response.keyset)

    def publish(self, signed: SignedKeyset) -> None:
        """Publish a keyset. Raises GatewayError."""
        request = key_service_pb2.PublishKeysetRequest(keyset=signed_keyset_message(signed))
        self._gateway.call(key_service_pb2_grpc.KeyServiceStub, "PublishKeyset", request)


def publication_at(
    gateway: GatewayConnection,
    keyring: FileKeyring,
    signer: Path | None,
    *,
    after_restore: bool = False,
    dry_run: bool = False,
) -> KeysetPublication:
    """Return what publishes the keysets of a keyring, signed by the key in a file; None: beside the keyring.

    Raises:
        KeyringError: the signer is not there, or it is not the one that the root delegated to.
    """
    return KeysetPublication(
        keyring=keyring,
        signer=keyring.signer_key(signer),
        directory=GatewayKeysets(gateway),
        now_ms=now_ms,
        after_restore=after_restore,
        dry_run=dry_run,
    )
