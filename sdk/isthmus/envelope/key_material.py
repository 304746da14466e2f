"""Key pairs of the envelope: Ed25519 to sign, X-Wing (ML-KEM-768 and X25519) to seal to.

Private keys show no secret in their representation and refuse to be pickled or copied. The objects of
``cryptography`` are made once per key, not once per message: parsing costs more than the use.

X-Wing: draft-connolly-cfrg-xwing-kem, HPKE code point 0x647a. A private key is its 32-byte seed; SHAKE-256
stretches it to the ML-KEM seed (64 bytes) and the X25519 key (32 bytes). A public key is the concatenation of
the two public keys: 1184 + 32 bytes.
"""

import hashlib
import os
from typing import NoReturn, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey

from isthmus.envelope import binding
from isthmus.envelope.encapsulation import Decapsulator, Encapsulator
from isthmus.wire.ed25519 import signer, verifier
from isthmus.wire.keyset import encryption_key_id, signing_key_id
from isthmus.wire.names import KeyId

SIGNING_KEY_BYTES = 32
ENCRYPTION_SEED_BYTES = 32
ENCRYPTION_PUBLIC_KEY_BYTES = 1216
_MLKEM_SEED_BYTES = 64
_MLKEM_PUBLIC_KEY_BYTES = 1184
_EXPANDED_BYTES = 96


class Secret:
    """A private key does not leave its process by accident."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse."""
        raise TypeError("private keys cannot be pickled or copied")


class SigningPublicKey:
    """An Ed25519 public key. Equality compares the full key, never the id alone."""

    __slots__ = ("_verify", "key_id", "raw")

    key_id: KeyId
    raw: bytes

    def __init__(self, raw: bytes) -> None:
        """Load 32 raw bytes. Raises ValueError when they are no key, or one that proves nothing."""
        self._verify = verifier(raw)
        self.raw = bytes(raw)
        self.key_id = signing_key_id(self.raw)

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Tell whether the signature over the data is by this key."""
        return self._verify(signature, data)

    def __eq__(self, other: object) -> bool:
        """Compare the full key."""
        return isinstance(other, SigningPublicKey) and other.raw == self.raw

    def __hash__(self) -> int:
        """Hash the full key."""
        return hash(self.raw)

    def __repr__(self) -> str:
        """Show the key id only."""
        return f"SigningPublicKey({self.key_id.hex()})"


class SigningPrivateKey(Secret):
    """An Ed25519 private key."""

    __slots__ = ("_seed", "_sign", "key_id", "public")

    key_id: KeyId
    public: SigningPublicKey

    def __init__(self, seed: bytes) -> None:
        """Derive the key pair of a 32-byte seed. Raises ValueError when it has another size."""
        self._sign = signer(seed)
        self._seed = bytes(seed)
        private_key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = SigningPublicKey(private_key.public_key().public_bytes_raw())
        self.key_id = self.public.key_id

    @classmethod
    def generate(cls) -> Self:
        """Make a new key."""
        return cls(os.urandom(SIGNING_KEY_BYTES))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Load the 32 bytes that to_bytes returned. Raises ValueError."""
        return cls(raw)

    def to_bytes(self) -> bytes:
        """Return the secret, 32 bytes: for a keyring that is about to wrap it."""
        return self._seed

    def sign(self, data: bytes) -> bytes:
        """Return the signature over the data, 64 bytes."""
        return self._sign(data)

    def __repr__(self) -> str:
        """Show the key id only."""
        return f"SigningPrivateKey({self.key_id.hex()})"


class EncryptionPublicKey:
    """An X-Wing public key. Equality compares the full key, never the id alone."""

    __slots__ = ("_encapsulator", "key_id", "raw")

    key_id: KeyId
    raw: bytes

    def __init__(self, raw: bytes) -> None:
        """Load 1216 raw bytes. Raises ValueError when they are no key."""
        if len(raw) != ENCRYPTION_PUBLIC_KEY_BYTES:
            raise ValueError(f"an encryption key is {ENCRYPTION_PUBLIC_KEY_BYTES} bytes")
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_KEY_BYTES]),
            X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC_KEY_BYTES:]),
        )
        self.raw = bytes(raw)
        self.key_id = encryption_key_id(self.raw)
        self._encapsulator = Encapsulator(key, binding.encapsulation_info(self.key_id))

    def wrap(self, message_key: bytes, info: bytes) -> bytes:
        """Wrap a message key for the holder of the private key; no other message has this ``info``."""
        return self._encapsulator.wrap(message_key, info)

    def __eq__(self, other: object) -> bool:
        """Compare the full key."""
        return isinstance(other, EncryptionPublicKey) and other.raw == self.raw

    def __hash__(self) -> int:
        """Hash the full key."""
        return hash(self.raw)

    def __repr__(self) -> str:
        """Show the key id only."""
        return f"EncryptionPublicKey({self.key_id.hex()})"


def expand_seed(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    """Return the two private keys of a seed. Raises ValueError when it has another size."""
    if len(seed) != ENCRYPTION_SEED_BYTES:
        raise ValueError(f"the seed of an encryption key is {ENCRYPTION_SEED_BYTES} bytes")
    expanded = hashlib.shake_256(seed).digest(_EXPANDED_BYTES)
    return (
        MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_BYTES]),
        X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED_BYTES:]),
    )


class EncryptionPrivateKey(Secret):
    """An X-Wing private key."""

    __slots__ = ("_decapsulator", "_seed", "key_id", "public")

    key_id: KeyId
    public: EncryptionPublicKey

    def __init__(self, seed: bytes) -> None:
        """Derive the key pair of a 32-byte seed. Raises ValueError when it has another size."""
        mlkem, x25519 = expand_seed(seed)
        self._seed = bytes(seed)
        self.public = EncryptionPublicKey(
            mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        )
        self.key_id = self.public.key_id
        self._decapsulator = Decapsulator(
            MLKEM768X25519PrivateKey(mlkem, x25519), binding.encapsulation_info(self.key_id)
        )

    @classmethod
    def generate(cls) -> Self:
        """Make a new key."""
        return cls(os.urandom(ENCRYPTION_SEED_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Load the 32 bytes that ``seed`` returned. Raises ValueError."""
        return cls(seed)

    @property
    def seed(self) -> bytes:
        """The secret, 32 bytes: for a keyring that is about to wrap it."""
        return self._seed

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes | None:
        """Return the message key, or None when it was not wrapped for this key and this ``info``."""
        return self._decapsulator.unwrap(wrapped, info)

    def __repr__(self) -> str:
        """Show the key id only."""
        return f"EncryptionPrivateKey({self.key_id.hex()})"
