"""Blobs to ciphertext and back, a piece at a time: Cobblestone-256 under a key that only the pointer carries.

The context names the very operation and who seals for whom, so a blob does not open as that of another
operation, of the other direction or of another team, even if a pointer says so.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag

from isthmus.blobs.errors import BlobRefusedError
from isthmus.wire.header import Direction
from isthmus.wire.pae import pae

PIECE_BYTES: Final = 1024 * 1024
"""How much plaintext or ciphertext is in memory at a time, give or take a chunk."""
_CONTEXT: Final = "isthmus/blob/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Which message of which operation a blob belongs to."""

    trust_domain: str
    sender_namespace: str
    recipient_namespace: str
    endpoint: str
    service: str
    operation: str
    operation_id: bytes
    direction: Direction
    """REQUEST or RESULT."""

    @property
    def context(self) -> bytes:
        """PAE("isthmus/blob/1", …): every field, in the order in which they are declared."""
        return pae(
            _CONTEXT,
            self.trust_domain,
            self.sender_namespace,
            self.recipient_namespace,
            self.endpoint,
            self.service,
            self.operation,
            self.operation_id,
            self.direction.name.lower(),
        )


def generate_key() -> bytes:
    """Return a key for one blob, 32 random bytes."""
    return Cobblestone256Encryptor.generate_key()


class Sealing:
    """Iterates over the ciphertext of some plaintext; afterwards knows its size and digest."""

    def __init__(self, plaintext: Iterable[bytes | memoryview], *, key: bytes, binding: Binding) -> None:
        self._plaintext = plaintext
        self._encryptor = Cobblestone256Encryptor(key, binding.context)
        self._hash = hashlib.sha256()
        self.sealed_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield the ciphertext, once."""
        for piece in self._plaintext:
            yield self._counted(self._encryptor.update(piece))
        yield self._counted(self._encryptor.finalize())

    @property
    def sha256(self) -> bytes:
        """Digest of what was yielded so far."""
        return self._hash.digest()

    def _counted(self, piece: bytes) -> bytes:
        self._hash.update(piece)
        self.sealed_bytes += len(piece)
        return piece


def unseal(ciphertext: BinaryIO, *, key: bytes, binding: Binding) -> Iterator[bytes]:
    """Yield the plaintext. Nothing of it may be used before the last piece has come: only then it is whole.

    Raises:
        BlobRefusedError: it is not what was sealed under this key for this operation.
    """
    decryptor = Cobblestone256Decryptor(key, binding.context)
    try:
        while piece := ciphertext.read(PIECE_BYTES):
            yield decryptor.update(piece)
        yield decryptor.finalize()
    except (InvalidTag, ValueError):
        raise BlobRefusedError(
            "the blob does not open: it was sealed for another operation, or its sender is broken"
        ) from None
