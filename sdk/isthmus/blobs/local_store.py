"""A folder as an object store, for one machine or a shared file system: private, atomic, durable.

Below the folder no symbolic link is followed: each step of a name is opened relative to the step before.
"""

import os
import stat
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from isthmus.blobs.errors import BlobRefusedError, BlobUnavailableError
from isthmus.blobs.name import PARTIAL_SUFFIX
from isthmus.blobs.sealing import PIECE_BYTES
from isthmus.blobs.store import Reading

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe in place of the file must not block its reader before it is seen to be none.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LocalStore:
    """Objects as files below a folder."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write beside the name, sync, rename, sync the folder."""
        path = self._folder / name
        partial = path.with_name(path.name + PARTIAL_SUFFIX)
        try:
            self._make_folders(path.parent)
            handle = os.open(
                partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE
            )
            try:
                with os.fdopen(handle, "wb") as file:
                    file.writelines(pieces)
                    file.flush()
                    os.fsync(file.fileno())
                partial.rename(path)
            except BaseException:
                with suppress(OSError):
                    partial.unlink()
                raise
            _sync_folder(path.parent)
        except OSError as error:
            raise _unavailable("written", self._folder, error) from error

    @contextmanager
    def read(self, name: str) -> Generator[Reading]:
        """Open without following links."""
        try:
            handle = self._open(name)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise BlobRefusedError(
                    "the blob is not there: swept after its time, or not visible on this machine"
                ) from None
            if isinstance(error, PermissionError):
                raise _unavailable("read", self._folder, error) from error
            raise BlobRefusedError(f"the blob is no plain file below its folder: {error.strerror}") from None
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise BlobRefusedError("the blob is no plain file")

            def pieces() -> Iterator[bytes]:
                try:
                    while piece := file.read(PIECE_BYTES):
                        yield piece
                except OSError as error:
                    raise _unavailable("read", self._folder, error) from error

            yield Reading(status.st_size, pieces())

    def names(self) -> Iterator[str]:
        """Walk the folder; links are listed, not followed."""
        if not self._folder.is_dir():
            return

        def fail(error: OSError) -> None:
            raise _unavailable("listed", self._folder, error) from error

        for parent, _, files in os.walk(self._folder, onerror=fail):
            for file in files:
                yield (Path(parent) / file).relative_to(self._folder).as_posix()

    def delete(self, name: str) -> None:
        """Unlink."""
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise _unavailable("deleted", self._folder, error) from error

    def _open(self, name: str) -> int:
        *folders, last = name.split("/")
        at = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for folder in folders:
                below = os.open(folder, _FOLDER, dir_fd=at)
                os.close(at)
                at = below
            return os.open(last, _FILE, dir_fd=at)
        finally:
            os.close(at)

    def _make_folders(self, folder: Path) -> None:
        """Make what is missing, private, and durable in the folder above."""
        if folder.is_dir():
            return
        self._make_folders(folder.parent)
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unavailable(what: str, folder: Path, error: OSError) -> BlobUnavailableError:
    return BlobUnavailableError(
        f"a blob below {folder} cannot be {what}: {error.strerror}; check space and permissions there"
    )
