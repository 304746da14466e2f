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


def read_journal(path: Path) -> list[Line]:
    """Return the whole lines of a journal, in their order; none when there is no file."""
    lines: list[Line] = []
    if path.exists():
        for text in path.read_bytes().splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue  # torn: nobody was told of it
    return lines
