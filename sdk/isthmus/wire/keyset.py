"""Key ids, and how fingerprints are shown."""

import hashlib

from isthmus.wire.names import KEY_ID_BYTES, KeyId

_ENCRYPTION_PREFIX = b"ise1-enc"
_SIGNING_PREFIX = b"ise1-sig"


def encryption_key_id(public_key: bytes) -> KeyId:
    """Return the id of an X-Wing public key (1216 bytes)."""
    return KeyId(hashlib.sha256(_ENCRYPTION_PREFIX + public_key).digest()[:KEY_ID_BYTES])


def signing_key_id(public_key: bytes) -> KeyId:
    """Return the id of an Ed25519 public key (32 bytes)."""
    return KeyId(hashlib.sha256(_SIGNING_PREFIX + public_key).digest()[:KEY_ID_BYTES])


def format_fingerprint(fingerprint: bytes) -> str:
    """Show a fingerprint, the SHA-256 of a root, as ``SHA256:`` and hexadecimal."""
    return "SHA256:" + fingerprint.hex()
