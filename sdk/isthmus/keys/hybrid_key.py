"""Private keys of roots, signers and renewers: Ed25519 and ML-DSA-65 side by side."""

from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey

from isthmus.envelope.key_material import Secret
from isthmus.wire.hybrid import HybridPublicKey, HybridSignature
from isthmus.wire.names import KeyId

SECRET_BYTES = 64
_HALF = 32


class HybridPrivateKey(Secret):
    """A hybrid private key. It shows nothing of itself and refuses to be pickled or copied."""

    __slots__ = ("_classical", "_post_quantum", "key_id", "public")

    key_id: KeyId
    public: HybridPublicKey

    def __init__(self, classical: Ed25519PrivateKey, post_quantum: MLDSA65PrivateKey) -> None:
        self._classical = classical
        self._post_quantum = post_quantum
        self.public = HybridPublicKey(
            ed25519=classical.public_key().public_bytes_raw(),
            ml_dsa_65=post_quantum.public_key().public_bytes_raw(),
        )
        self.key_id = self.public.key_id

    @classmethod
    def generate(cls) -> Self:
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate(), MLDSA65PrivateKey.generate())

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Load the 64 bytes that to_bytes returned. Raises ValueError."""
        if len(raw) != SECRET_BYTES:
            raise ValueError(f"a hybrid private key is {SECRET_BYTES} bytes")
        return cls(
            Ed25519PrivateKey.from_private_bytes(raw[:_HALF]), MLDSA65PrivateKey.from_seed_bytes(raw[_HALF:])
        )

    def to_bytes(self) -> bytes:
        """Return the secret, 64 bytes, for a file that is about to wrap it: Ed25519 key, then ML-DSA seed."""
        return self._classical.private_bytes_raw() + self._post_quantum.private_bytes_raw()

    def sign(self, data: bytes) -> HybridSignature:
        """Return both signatures over the data."""
        return HybridSignature(
            key_id=self.key_id, ed25519=self._classical.sign(data), ml_dsa_65=self._post_quantum.sign(data)
        )

    def __repr__(self) -> str:
        """Show the key id only."""
        return f"HybridPrivateKey({self.key_id.hex()})"
