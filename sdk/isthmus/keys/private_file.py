"""Files that only their owner may read, replaced atomically and durably.

Or that root put there for their reader: a secret that a container has mounted belongs to root, and to a group
that may read it. The reader cannot give such a file another owner, so it accepts this one other form.
"""

import errno
import fcntl
import glob
import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from isthmus.keys.errors import KeyringError

_FORBIDDEN = stat.S_IRWXG | stat.S_IRWXO
_FORBIDDEN_OF_ROOT = _FORBIDDEN & ~stat.S_IRGRP
_TEMPORARY = ".tmp"
_NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVersion:
    """Changes whenever the file is replaced or written."""

    inode: int
    modified_ns: int
    size: int


def read_private(path: Path) -> tuple[bytes, FileVersion]:
    """Return the content of a private file and its version.

    Raises:
        KeyringError: the file belongs to somebody else, or group or others have any right to it; to a file of
            root, the reader's group may have the right to read.
        FileNotFoundError: there is no such file.

    """
    # Checked on the open file, not on the path: nobody can exchange it in between.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyringError(f"{path} is not a regular file")
        _check_rights(path, status)
        return file.read(), _version(status)


def _check_rights(path: Path, status: os.stat_result) -> None:
    if status.st_uid == os.geteuid():
        if status.st_mode & _FORBIDDEN:
            raise KeyringError(
                f"{path} is accessible to group or others: chmod 600 {path}; for a secret that is mounted"
                " into a container that runs as root: defaultMode 0400, and no fsGroup"
            )
    elif status.st_uid == 0 and status.st_mode & (stat.S_IRGRP | stat.S_IRWXO):
        if status.st_mode & _FORBIDDEN_OF_ROOT:
            raise KeyringError(
                f"{path} is accessible to everybody, or its group can write it: chmod 440 {path}; for a"
                " secret that is mounted into a container: defaultMode 0440, and an fsGroup"
            )
    else:
        own = os.geteuid()
        raise KeyringError(
            f"{path} belongs to another user ({status.st_uid}, this process runs as {own}): run this as that"
            f" user, or chown {own} {path}"
        )


def version_of(path: Path) -> FileVersion:
    """Return the version of a file without reading it. Raises FileNotFoundError."""
    return _version(path.stat())


def replace_private(path: Path, content: bytes) -> None:
    """Replace a private file: after a crash either the old or the new content is there, whole and durable."""
    _replace(path, content, mode=0o600)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file that others may read, as durably."""
    _replace(path, content, mode=0o644)


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    _sweep(path)
    temporary, descriptor = _temporary(path, mode)
    try:
        try:
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    finally:
        # Closing lets go of its lock: until here nobody sweeps it.
        os.close(descriptor)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make durable which files a folder has."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary(path: Path, mode: int) -> tuple[Path, int]:
    """Make an empty file beside another one, locked as long as it is open: it is being written."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_TEMPORARY}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Another process may have swept it before it was locked.
        if os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)


def _sweep(path: Path) -> None:
    """Remove what processes that were killed left of this file; not what another one is writing now."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{_TEMPORARY}"):
        try:
            descriptor = os.open(left, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # swept by another one, or somebody else's
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink(missing_ok=True)
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)


@contextmanager
def exclusive(path: Path) -> Generator[None]:
    """Hold the lock of a file against other writers, in this and in other processes.

    Raises:
        KeyringError: nothing can be written where the file is.

    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        raise KeyringError(
            f"{path} cannot be changed here, its folder is not writable ({error.strerror}): change it where"
            " it is kept, and mount it again"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # Closing releases the lock; the file stays, because removing it would let two writers in.
        os.close(descriptor)


def _version(status: os.stat_result) -> FileVersion:
    return FileVersion(inode=status.st_ino, modified_ns=status.st_mtime_ns, size=status.st_size)
