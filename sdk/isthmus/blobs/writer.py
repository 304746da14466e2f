"""Puts content into a store as a sealed blob, in one pass: read, fingerprint, seal, hash, write."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from isthmus.blobs.address import Place
from isthmus.blobs.errors import BlobUnavailableError
from isthmus.blobs.file import File
from isthmus.blobs.fingerprint import Fingerprint
from isthmus.blobs.name import new_name
from isthmus.blobs.open_store import open_store
from isthmus.blobs.pointer import Pointer
from isthmus.blobs.sealing import PIECE_BYTES, Binding, Sealing, generate_key
from isthmus.payload.converter import BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a blob goes, which message it belongs to, and how long it is kept."""

    root: str
    binding: Binding
    written: datetime
    kept_until: datetime

    def new_place(self) -> Place:
        """Return a place that nothing was ever written to."""
        recipient = self.binding.recipient_namespace
        return Place(self.root, new_name(recipient, written=self.written, kept_until=self.kept_until))


def write_pieces(
    pieces: Iterable[bytes | memoryview], *, content_type: str, destination: Destination
) -> Pointer:
    """Seal and write some content; it is durable when this returns.

    Raises:
        BlobUnavailableError: it cannot be written now. ConfigurationError: what the store needs is missing.
    """
    key = generate_key()
    sealing = Sealing(pieces, key=key, binding=destination.binding)
    place = destination.new_place()
    open_store(place.root).write(place.name, sealing)
    return Pointer(
        url=place.url,
        sealed_bytes=sealing.sealed_bytes,
        sha256=sealing.sha256,
        key=key,
        content_type=content_type,
    )


def write_file(
    content: File, *, id_key: bytes | None, destination: Destination
) -> tuple[Pointer, bytes | None]:
    """Seal and write a file; return its fingerprint as well, if there is a key for that.

    Raises:
        OSError: the file cannot be opened.
        BlobUnavailableError: it cannot be read to its end, changes meanwhile, or cannot be written now.
    """
    with content.path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        fingerprint = None
        if id_key is not None:
            fingerprint = Fingerprint(id_key, content_type=BYTES, data_bytes=size)
        pointer = write_pieces(
            _read(file, size, fingerprint),
            content_type=BYTES,
            destination=destination,
        )
    return pointer, None if fingerprint is None else fingerprint.digest()


def split(data: bytes) -> Iterator[memoryview]:
    """Yield the pieces of what is in memory, without copies."""
    view = memoryview(data)
    for start in range(0, len(view), PIECE_BYTES):
        yield view[start : start + PIECE_BYTES]


def _read(file: BinaryIO, size: int, fingerprint: Fingerprint | None) -> Iterator[bytes]:
    left_bytes = size
    try:
        while piece := file.read(PIECE_BYTES):
            left_bytes -= len(piece)
            if fingerprint is not None:
                fingerprint.update(piece)
            yield piece
    except OSError as error:
        raise BlobUnavailableError(f"{file.name} cannot be read: {error.strerror}") from error
    if left_bytes:
        raise BlobUnavailableError(f"{file.name} changed while it was read; send it when it is complete")
