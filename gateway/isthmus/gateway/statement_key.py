"""The key with which the gateway signs its statements: endings that no handler signed."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from isthmus.gateway.key_file import load_or_create_key
from isthmus.wire.keyset import signing_key_id
from isthmus.wire.statement import statement_signed_bytes

STATEMENT_KEY_FILE = "statement-key.pem"


class StatementKey:
    """A ``StatementSigner`` with a key of this gateway. The private key never leaves it."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key: bytes = private_key.public_key().public_bytes_raw()
        self.key_id: bytes = signing_key_id(self.public_key)

    @classmethod
    def load_or_create(cls, data_dir: Path) -> "StatementKey":
        """Use the key in the data directory; make it (mode 0600) at the first start.

        Raises:
            ConfigurationError: others may read the key, or it is no Ed25519 key.
        """
        return cls(load_or_create_key(data_dir / STATEMENT_KEY_FILE))

    def sign(self, body: bytes) -> bytes:
        """Return the signature (64 bytes) over ``PAE("isthmus/statement", body)``."""
        return self._private_key.sign(statement_signed_bytes(body))
