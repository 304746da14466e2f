"""Takes blobs out of a store: only from where it is allowed, and releases nothing before it is verified.

The ciphertext goes into an unnamed file and is hashed on the way; the key touches it only if size and digest
are those of the pointer, and what comes out is handed on only when the last chunk has proven to be the last.
"""

import hashlib
import hmac
import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from isthmus.blobs.address import locate
from isthmus.blobs.errors import BlobRefusedError, BlobTooLargeError, BlobUnavailableError
from isthmus.blobs.file import File
from isthmus.blobs.open_store import open_store
from isthmus.blobs.pointer import Pointer
from isthmus.blobs.sealing import Binding, unseal
from isthmus.blobs.settings import MAX_VALUE_BYTES, BlobSettings


def read_to_file(pointer: Pointer, *, binding: Binding, settings: BlobSettings) -> File:
    """Return the content as a private temporary file.

    Raises:
        BlobRefusedError: it is not what its sender sealed for this operation, or not where it may be.
        BlobTooLargeError: it is larger than ``max_bytes``.
        BlobUnavailableError: the store or the local disk does not do its work now.
    """
    with _verified(pointer, binding=binding, settings=settings, max_bytes=settings.max_bytes) as sealed:
        with _spooling(settings.spool):
            handle, path = tempfile.mkstemp(prefix="isthmus-", dir=settings.spool)
        content = File.temporary(path)
        try:
            with _spooling(settings.spool), os.fdopen(handle, "wb") as file:
                file.writelines(unseal(sealed, key=pointer.key, binding=binding))
        except BaseException:
            content.close()
            raise
        return content


def read_to_bytes(pointer: Pointer, *, binding: Binding, settings: BlobSettings) -> bytes:
    """Return the content. Raises as ``read_to_file``; at most 64 MiB."""
    limit = min(MAX_VALUE_BYTES, settings.max_bytes)
    with _verified(pointer, binding=binding, settings=settings, max_bytes=limit) as sealed:
        return b"".join(unseal(sealed, key=pointer.key, binding=binding))


@contextmanager
def _verified(
    pointer: Pointer, *, binding: Binding, settings: BlobSettings, max_bytes: int
) -> Generator[BinaryIO]:
    """Yield the ciphertext, spooled, with the size and the digest that the pointer says."""
    place = locate(pointer.url, sender_namespace=binding.sender_namespace, prefixes=settings.prefixes)
    if pointer.sealed_bytes > max_bytes:
        raise BlobTooLargeError(
            f"the blob is {pointer.sealed_bytes} bytes, more than the {max_bytes} that are taken here:"
            " receive it as isthmus.blobs.File, or raise blob_max_bytes"
        )
    store = open_store(place.root)
    with _spooling(settings.spool):
        spool = tempfile.TemporaryFile(dir=settings.spool)  # noqa: SIM115 - closed in the next line's block
    with spool, store.read(place.name) as reading:
        if reading.size_bytes != pointer.sealed_bytes:
            raise _changed()
        _spool(reading.pieces, spool, pointer, settings)
        yield spool


def _spool(pieces: Iterator[bytes], spool: BinaryIO, pointer: Pointer, settings: BlobSettings) -> None:
    digest = hashlib.sha256()
    left_bytes = pointer.sealed_bytes
    for piece in pieces:
        left_bytes -= len(piece)
        if left_bytes < 0:
            raise _changed()
        digest.update(piece)
        with _spooling(settings.spool):
            spool.write(piece)
    with _spooling(settings.spool):
        spool.seek(0)
    if left_bytes or not hmac.compare_digest(digest.digest(), pointer.sha256):
        raise _changed()


@contextmanager
def _spooling(folder: Path | None) -> Generator[None]:
    """Say what to do when the local disk is full."""
    try:
        yield
    except OSError as error:
        where = folder or tempfile.gettempdir()
        raise BlobUnavailableError(
            f"a blob cannot be spooled in {where}: {error.strerror}; it takes twice the size of the blob:"
            " make room there, or set blob_spool to another folder"
        ) from error


def _changed() -> BlobRefusedError:
    return BlobRefusedError("the blob is not the one that its sender wrote: size or digest differ")
