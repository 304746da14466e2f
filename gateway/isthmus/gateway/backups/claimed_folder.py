"""A folder in which something is made ready before it gets its name: one process at a time."""

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from isthmus.gateway.core.errors import AlreadyExistsError


@contextmanager
def claimed_folder(path: Path) -> Generator[Path]:
    """Make the folder, for this process and its owner only; remove what of it is left in the end.

    Raises:
        AlreadyExistsError: another process has it.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _claim(descriptor, path)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(descriptor)


def _claim(descriptor: int, path: Path) -> None:
    """Lock the folder, and empty it of what a process that was killed left there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_still_there = os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        is_still_there = False
    if not is_still_there:
        raise AlreadyExistsError(
            f"another process is making {path.name}", fix="Let it end, or name another folder."
        )
    for left in path.iterdir():
        left.unlink()
