"""What each team writes down for itself, one JSON object a line, so that the demonstration can be checked."""

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


class Journal:
    """Appends entries. A line is written at once and whole, so kill -9 loses none that was written."""

    def __init__(self, path: Path | None) -> None:
        """Open a journal for appending; None writes nothing down."""
        self._descriptor = (
            None if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        )

    def write(self, event: str, **fields: object) -> None:
        """Append one entry."""
        if self._descriptor is not None:
            entry = {"event": event, "pid": os.getpid(), **fields}
            line = json.dumps(entry, default=_fields_of, ensure_ascii=False)
            os.write(self._descriptor, line.encode() + b"\n")


def _fields_of(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"a {type(value).__name__} cannot be written down")


def read_journal(path: Path) -> Iterator[Entry]:
    """Yield the entries so far; a journal that nobody opened yet has none."""
    yield from (json.loads(line) for line in _lines(path, offset=0))


class JournalWatch:
    """Counts the events of a journal while it grows, reading each line once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._counts: Counter[str] = Counter()

    def count(self, event: str) -> int:
        """Return how often an event was written down by now."""
        for line in _lines(self._path, offset=self._offset):
            self._offset += len(line)
            self._counts[json.loads(line)["event"]] += 1
        return self._counts[event]


def _lines(path: Path, *, offset: int) -> Iterator[bytes]:
    """Yield the complete lines from an offset on."""
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            # The last line may be under way.
            yield from (line for line in stream if line.endswith(b"\n"))
    except FileNotFoundError:
        return
