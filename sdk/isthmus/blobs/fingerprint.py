"""The fingerprint of an input that is too large for memory: the same value as ``fingerprint_of`` gives.

HMAC-SHA256 under ``id_key`` over PAE("ise1/fingerprint", content type, data): over the content itself, never
over the claim check, whose key and place differ each time.
"""

import hashlib
import hmac
from typing import Final

from isthmus.wire.pae import pae

_CONTEXT: Final = "ise1/fingerprint"
_LENGTH_BYTES: Final = 8


class Fingerprint:
    """Computes it piece by piece; the size of the content is known before."""

    def __init__(self, id_key: bytes, *, content_type: str, data_bytes: int) -> None:
        before_data = pae(_CONTEXT, content_type, b"")[:-_LENGTH_BYTES]
        self._mac = hmac.new(id_key, before_data + data_bytes.to_bytes(_LENGTH_BYTES, "big"), hashlib.sha256)

    def update(self, piece: bytes) -> None:
        """Take the next piece in."""
        self._mac.update(piece)

    def digest(self) -> bytes:
        """Return it, 32 bytes, once every piece is in."""
        return self._mac.digest()
