"""The database file: private to its owner, on a local file system, and one gateway's at a time."""

import fcntl
import json
import os
import socket
import stat
from pathlib import Path

from isthmus.gateway.core.errors import ConfigurationError, UnavailableError

_PRIVATE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MOUNTS = Path("/proc/self/mountinfo")
# Locks and shared memory of these do not work between machines, or not at all.
_NETWORK_FILE_SYSTEMS = frozenset(
    {
        "9p",
        "afs",
        "ceph",
        "cifs",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
    }
)


def prepare_file(path: Path) -> None:
    """Make the file if it is not there, readable by its owner only.

    SQLite gives the log and the shared memory beside it the same mode.

    Raises:
        ConfigurationError: it cannot be made, others may read it, or it lies on a network file system.
    """
    check_file(path)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE))
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be opened: {error.strerror}",
            fix="The directory must exist, and belong to the user that runs the gateway.",
        ) from error
    check_file(path)


def check_file(path: Path) -> None:
    """Look at where the file is, or will be, without touching it.

    Raises:
        ConfigurationError: others may read it, or it lies on a network file system.
    """
    file_system = _file_system(path.parent)
    if file_system in _NETWORK_FILE_SYSTEMS:
        raise ConfigurationError(
            f"{path} lies on a network file system ({file_system}), where SQLite loses data",
            reason="STORE_NOT_DURABLE",
            fix="Keep it on a local disk, or use PostgreSQL.",
        )
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else _PRIVATE
    if mode & _OTHERS:
        raise ConfigurationError(
            f"{path} is open to other users (mode {mode:03o})", fix=f"Run: chmod 600 {path}"
        )


def _file_system(directory: Path) -> str:
    """Return the type of the file system of a directory; empty where the system does not tell."""
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    directory = directory.resolve()
    found, depth = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        mount_point = Path(fields[4].encode().decode("unicode_escape"))
        if directory.is_relative_to(mount_point) and len(mount_point.parts) >= depth:
            found, depth = fields[fields.index("-") + 1], len(mount_point.parts)
    return found


class FileLock:
    """An exclusive lock on ``<database>.lock``, held by the operating system until the process ends.

    The file is never removed: a lock on a removed file excludes nobody.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(f"{database.name}.lock")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, and write into it who has it.

        Raises:
            UnavailableError: another gateway has it.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._describe_holder(descriptor)
            os.close(descriptor)
            raise UnavailableError(
                f"another gateway has the database {self._database}: {holder}",
                reason="STORE_IN_USE",
                fix="Stop that gateway, or give this one a database of its own.",
            ) from None
        os.ftruncate(descriptor, 0)
        holder = json.dumps({"process": os.getpid(), "host": socket.gethostname()})
        os.pwrite(descriptor, holder.encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @staticmethod
    def _describe_holder(descriptor: int) -> str:
        try:
            holder = json.loads(os.pread(descriptor, 4096, 0))
            return f"process {holder['process']} on host {holder['host']}"
        except (ValueError, KeyError, TypeError):
            return "it has not yet written its name"
