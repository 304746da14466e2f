"""What binds the parts of an envelope to one another: the info of each wrap and the context of the body.

Both contain ``hh``, the hash of the header as transmitted, so neither opens under another header.
"""

from functools import lru_cache

from isthmus.wire.names import DIGEST_BYTES, KEY_ID_BYTES
from isthmus.wire.pae import pae

_ENCAPSULATION_CONTEXT = "ise1/encapsulation"
_WRAP_CONTEXT = "ise1/wrap"
_BODY_CONTEXT = "ise1/body"
_ANY_HASH = bytes(DIGEST_BYTES)
# Both are computed for every message; what PAE puts before the hash is always the same.
_BEFORE_WRAP_HASH = pae(_WRAP_CONTEXT, _ANY_HASH, b"", b"")[: -DIGEST_BYTES - 16]
_BEFORE_BODY_HASH = pae(_BODY_CONTEXT, _ANY_HASH)[:-DIGEST_BYTES]


def encapsulation_info(key_id: bytes) -> bytes:
    """Return the HPKE ``info`` of encapsulations to a key: PAE("ise1/encapsulation", key id)."""
    return pae(_ENCAPSULATION_CONTEXT, key_id)


def wrap_info(header_hash: bytes, namespace: str, key_id: bytes) -> bytes:
    """Return the ``info`` of the wrap for one recipient.

    PAE("ise1/wrap", hh, namespace, key id). Raises ValueError when hash or key id have another size.
    """
    if len(header_hash) != DIGEST_BYTES:
        raise ValueError("a wrap is bound to a hash of 32 bytes")
    return _BEFORE_WRAP_HASH + header_hash + _after_wrap_hash(namespace, key_id)


@lru_cache(maxsize=1024)
def _after_wrap_hash(namespace: str, key_id: bytes) -> bytes:
    if len(key_id) != KEY_ID_BYTES:
        raise ValueError("a wrap is bound to a key id of 16 bytes")
    return pae(_WRAP_CONTEXT, _ANY_HASH, namespace, key_id)[len(_BEFORE_WRAP_HASH) + DIGEST_BYTES :]


def body_context(header_hash: bytes) -> bytes:
    """Return the Cobblestone context of the body: PAE("ise1/body", hh). Raises ValueError."""
    if len(header_hash) != DIGEST_BYTES:
        raise ValueError("a body is bound to a hash of 32 bytes")
    return _BEFORE_BODY_HASH + header_hash
