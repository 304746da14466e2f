"""Hybrid signatures: Ed25519 and ML-DSA-65 over the same bytes, and both must verify.

Whoever breaks one of the two gains nothing. They sign what vouches for keys (roots, delegations, keysets),
seldom and at leisure: an ML-DSA signature is 3,309 bytes and takes a millisecond.
"""

import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey

from isthmus.wire.ed25519 import Verify, verifier
from isthmus.wire.names import KEY_ID_BYTES, KeyId

_PREFIX = b"isthmus-hybrid"


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridSignature:
    """Two signatures over the same bytes, by the two halves of one key."""

    key_id: KeyId
    ed25519: bytes = field(repr=False)
    """64 bytes."""
    ml_dsa_65: bytes = field(repr=False)
    """3,309 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridPublicKey:
    """The public halves. Equality compares the full key, never the id alone."""

    ed25519: bytes = field(repr=False)
    """32 bytes."""
    ml_dsa_65: bytes = field(repr=False)
    """1,952 bytes."""

    @property
    def key_id(self) -> KeyId:
        """The first 16 bytes of the SHA-256 of both halves under a prefix."""
        return KeyId(hashlib.sha256(_PREFIX + self.ed25519 + self.ml_dsa_65).digest()[:KEY_ID_BYTES])

    @property
    def is_sound(self) -> bool:
        """Whether both halves can be loaded, and the first is no key that proves nothing."""
        return self._load() is not None

    def verifies(self, signature: HybridSignature, data: bytes) -> bool:
        """Tell whether both halves of the signature over the data are by this key."""
        loaded = self._load()
        if loaded is None or signature.key_id != self.key_id:
            return False
        verify_classical, post_quantum = loaded
        if not verify_classical(signature.ed25519, data):
            return False
        try:
            post_quantum.verify(signature.ml_dsa_65, data)
        except InvalidSignature:
            return False
        return True

    def _load(self) -> tuple[Verify, MLDSA65PublicKey] | None:
        try:
            return verifier(self.ed25519), MLDSA65PublicKey.from_public_bytes(self.ml_dsa_65)
        except ValueError:
            return None
