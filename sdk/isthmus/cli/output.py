"""What commands print: tables for people, JSON for programs. Results go to stdout, all else to stderr."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum, unique
from typing import Any

# A table that goes into a pipe is not cut at the width of a terminal that is not there.
_PIPE_COLUMNS = 240
Document = Mapping[str, Any]


@unique
class OutputFormat(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


class Output:
    """Prints results in one format."""

    def __init__(self, format_: OutputFormat) -> None:
        self.format = format_

    @property
    def is_json(self) -> bool:
        """Whether programs read it."""
        return self.format is OutputFormat.JSON

    def rows(
        self, documents: Sequence[Document], columns: Sequence[str], *, empty: str = "Nothing to show."
    ) -> None:
        """Print documents of one kind: a table of these columns, or a JSON array of all there is."""
        if self.is_json:
            self.json(list(documents))
        elif documents:
            _print_table(
                columns, [[show(document.get(column)) for column in columns] for document in documents]
            )
        else:
            self.note(empty)

    def document(self, document: Document) -> None:
        """Print one thing: its fields below each other, or a JSON object."""
        if self.is_json:
            self.json(document)
            return
        width = max((len(name) for name in document), default=0)
        for name, value in document.items():
            lines = printable(show(value)).splitlines() or [""]
            title = name.replace("_", " ")
            sys.stdout.write(f"{title:<{width}}  {lines[0]}\n")
            sys.stdout.writelines(f"{'':<{width}}  {line}\n" for line in lines[1:])

    def json(self, value: object) -> None:
        """Print a JSON document."""
        sys.stdout.write(json.dumps(value, default=plain, indent=2, ensure_ascii=False) + "\n")

    def json_line(self, value: object) -> None:
        """Print a JSON document on a line of its own, at once."""
        sys.stdout.write(json.dumps(value, default=plain, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Say something to the person, which no program needs."""
        sys.stderr.write(text + "\n")


def show(value: object) -> str:
    """Return a value as people read it in a table."""
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list | tuple):
        return "\n".join(show(item) for item in value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) or dataclasses.is_dataclass(value):
        return json.dumps(value, default=plain, ensure_ascii=False)
    return str(value)


def plain(value: object) -> object:
    """Return a value in terms of JSON."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return str(value)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " ").upper(), overflow="fold")
    for row in rows:
        # Text, so that brackets in a description are no markup; without control characters, which a
        # foreign team could use to write over what stands on the terminal.
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def printable(text: str) -> str:
    """Return text that cannot move the cursor or change the terminal."""
    return "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text
    )
