"""Key ids, fingerprints and the bytes that a namespace's root signs."""

import hashlib

from isthmus.wire.names import KEY_ID_BYTES, KeyId
from isthmus.wire.pae import pae

_ENCRYPTION_PREFIX = b"ise1-enc"
_SIGNING_PREFIX = b"ise1-sig"
_ROOT_PREFIX = b"ise1-root"
_KEYSET_CONTEXT = "isthmus/keyset"


def encryption_key_id(public_key: bytes) -> KeyId:
    """Return the id of an X-Wing public key (1216 bytes)."""
    return KeyId(hashlib.sha256(_ENCRYPTION_PREFIX + public_key).digest()[:KEY_ID_BYTES])


def signing_key_id(public_key: bytes) -> KeyId:
    """Return the id of an Ed25519 public key (32 bytes)."""
    return KeyId(hashlib.sha256(_SIGNING_PREFIX + public_key).digest()[:KEY_ID_BYTES])


def root_fingerprint(public_key: bytes) -> bytes:
    """Return what peers pin of a namespace's root key: 32 bytes."""
    return hashlib.sha256(_ROOT_PREFIX + public_key).digest()


def format_fingerprint(fingerprint: bytes) -> str:
    """Show a fingerprint as ``SHA256:`` and hexadecimal."""
    return "SHA256:" + fingerprint.hex()


def keyset_signed_bytes(keyset: bytes) -> bytes:
    """Return what the root signs of a serialized Keyset."""
    return pae(_KEYSET_CONTEXT, keyset)
