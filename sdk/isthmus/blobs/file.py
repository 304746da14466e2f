"""Files as inputs and results of operations: content that is never in memory as a whole."""

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self


class File:
    """A file on disk that an operation takes or returns; it travels through an object store.

    A sender wraps a path; the file stays where it is. A receiver gets a private copy, complete and verified,
    that is removed when the File is closed or forgotten: read it at ``path``, or keep it with ``save``. A
    handler's input is closed when the handler's answer is sealed, a result in a ``scratch`` file as well.

    As a type it stands for the same content as ``bytes``: one end may name File and the other bytes.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._remove: weakref.finalize[[Path], File] | None = None

    @classmethod
    def temporary(cls, path: str | os.PathLike[str]) -> Self:
        """Return a File that removes its path when it is closed or forgotten."""
        made = cls(path)
        made._remove = weakref.finalize(made, _unlink, made._path)
        return made

    @classmethod
    def scratch(cls, directory: str | os.PathLike[str] | None = None) -> Self:
        """Return a new, empty, private temporary file: a place for a handler's result. Raises OSError."""
        handle, path = tempfile.mkstemp(prefix="isthmus-", dir=directory)
        os.close(handle)
        return cls.temporary(path)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    def save(self, destination: str | os.PathLike[str]) -> Path:
        """Keep it: a temporary file moves to the destination, another one is copied. Raises OSError."""
        target = Path(destination)
        if self._remove is None:
            shutil.copyfile(self._path, target)
            return target
        shutil.move(self._path, target)
        self._remove.detach()
        self._remove = None
        self._path = target
        return target

    def close(self) -> None:
        """Remove it if it is temporary. May be called again."""
        if self._remove is not None:
            self._remove()

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """Show the path."""
        return f"File({str(self._path)!r})"


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
