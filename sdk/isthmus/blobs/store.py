"""What an object store promises to those who write and read blobs."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol


class Reading(NamedTuple):
    """An object that is being read."""

    size_bytes: int
    pieces: Iterator[bytes]


class BlobStore(Protocol):
    """Objects below one prefix. Names are relative to it; every method may block."""

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write an object: whole and durable when this returns, not there under this name if it raises.

        Raises:
            BlobUnavailableError: it cannot be written now.
        """
        ...

    def read(self, name: str) -> AbstractContextManager[Reading]:
        """Open an object; its size is known before its content is read.

        Raises:
            BlobRefusedError: it is not there, or no plain object.
            BlobUnavailableError: it cannot be read now.
        """
        ...

    def names(self) -> Iterator[str]:
        """Return the names of all objects below the prefix. Raises BlobUnavailableError."""
        ...

    def delete(self, name: str) -> None:
        """Delete an object if it is there. Raises BlobUnavailableError."""
        ...
