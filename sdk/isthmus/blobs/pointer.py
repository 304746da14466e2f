"""The claim check itself: what travels inside of an envelope instead of the data.

Canonical JSON, read as strictly as it is written. It contains the key of the blob, so it exists in sealed
envelopes only. Its content type belongs to the SDK: a value of the application cannot have it.
"""

import json
from dataclasses import dataclass, field
from typing import Final

from isthmus.blobs.address import MAX_URL_CHARS
from isthmus.blobs.errors import BlobRefusedError

CONTENT_TYPE: Final = "application/vnd.isthmus.claim-check+v1"
VERSION: Final = 1
KEY_BYTES: Final = 32
DIGEST_BYTES: Final = 32
MAX_POINTER_BYTES: Final = 4096
_MAX_CONTENT_TYPE_CHARS: Final = 255
_FIELDS: Final = {
    "content_type": str,
    "key": str,
    "sha256": str,
    "sealed_bytes": int,
    "url": str,
    "version": int,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Where a sealed blob is, what it must be, and what opens it. Its representation shows no key."""

    url: str
    sealed_bytes: int
    """Size of the ciphertext."""
    sha256: bytes
    """Of the ciphertext, 32 bytes."""
    key: bytes = field(repr=False)
    """Made for this blob alone, 32 bytes."""
    content_type: str
    """Of what is inside."""

    def encode(self) -> bytes:
        """Return the canonical form."""
        fields = {
            "content_type": self.content_type,
            "key": self.key.hex(),
            "sealed_bytes": self.sealed_bytes,
            "sha256": self.sha256.hex(),
            "url": self.url,
            "version": VERSION,
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def parse_pointer(data: bytes) -> Pointer:
    """Read a claim check.

    Raises:
        BlobRefusedError: it is not canonical, of another version, or a field is out of range.
    """
    try:
        found = json.loads(data) if len(data) <= MAX_POINTER_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or {name: type(value) for name, value in found.items()} != _FIELDS:
        raise _malformed()
    if found["version"] != VERSION:
        raise _malformed()
    try:
        key, digest = bytes.fromhex(found["key"]), bytes.fromhex(found["sha256"])
    except ValueError:
        raise _malformed() from None
    pointer = Pointer(
        url=found["url"],
        sealed_bytes=found["sealed_bytes"],
        sha256=digest,
        key=key,
        content_type=found["content_type"],
    )
    fits = (
        len(key) == KEY_BYTES
        and len(digest) == DIGEST_BYTES
        and pointer.sealed_bytes > 0
        and len(pointer.url) <= MAX_URL_CHARS
        and len(pointer.content_type) <= _MAX_CONTENT_TYPE_CHARS
        and pointer.content_type != CONTENT_TYPE  # a claim check for a claim check: nobody writes that
    )
    if not fits or pointer.encode() != data:
        raise _malformed()
    return pointer


def _malformed() -> BlobRefusedError:
    return BlobRefusedError(
        "the claim check is malformed, or of a version that this SDK does not know: update it"
    )
