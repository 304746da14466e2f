"""A journal: JSON lines in a file, each on disk before the next thing happens."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]


class Journal:
    """Appends lines. A process that is killed leaves whole lines and at most one torn one at the end."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if path.read_bytes()[-1:] not in {b"", b"\n"}:
            # The torn line of the process before; it must not spoil the first line of this one.
            os.write(self._file, b"\n")

    def write(self, **fields: object) -> None:
        """Append a line; it is on disk once this returns."""
        os.write(self._file, json.dumps(fields).encode() + b"\n")
        os.fsync(self._file)


class JournalReader:
    """Reads what a journal has gained since the last look: a long run's journal is long."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0

    def new_lines(self) -> list[Line]:
        """Return the whole lines that were not returned before."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            gained = file.read()
        whole = gained[: gained.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        return _parse(whole)


def read_journal(path: Path) -> list[Line]:
    """Return the whole lines of a journal, in their order; none when there is no file."""
    return _parse(path.read_bytes()) if path.exists() else []


def _parse(data: bytes) -> list[Line]:
    lines: list[Line] = []
    for text in data.splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue  # torn: nobody was told of it
    return lines
