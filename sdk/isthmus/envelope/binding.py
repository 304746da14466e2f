"""What binds the parts of an envelope to one another: the info of each wrap and the context of the body.

Both contain ``hh``, the hash of the header as transmitted, so neither opens under another header.
"""

from isthmus.wire.pae import pae

_WRAP_CONTEXT = "ise1/wrap"
_BODY_CONTEXT = "ise1/body"


def wrap_info(header_hash: bytes, namespace: str, key_id: bytes) -> bytes:
    """Return the HPKE ``info`` of the wrap for one recipient (RFC 9180, section 8.1: no aad is needed)."""
    return pae(_WRAP_CONTEXT, header_hash, namespace, key_id)


def body_context(header_hash: bytes) -> bytes:
    """Return the Cobblestone context of the body."""
    return pae(_BODY_CONTEXT, header_hash)
