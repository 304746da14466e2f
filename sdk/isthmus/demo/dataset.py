"""Reads the rows of the demonstration: the world's airports, or a CSV or JSON Lines file of one's own."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

MAX_CELL_CHARS = 128 * 1024
Row = dict[str, str]


class DatasetError(ValueError):
    """The input cannot be used; the message names the file, the line and what to mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Rows of text under the same columns, at least one."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def load_airports() -> Dataset:
    """Return the airports of the world from the package airportsdata. Raises DatasetError without it."""
    try:
        import airportsdata  # noqa: PLC0415 - an extra: who brings a file of their own needs it not
    except ImportError as error:
        raise DatasetError(
            "the airports are an extra: pip install 'isthmus[demo]', or bring a file of your own"
        ) from error
    rows = tuple(
        {name: str(value) for name, value in airport.items()}
        for airport in airportsdata.load("ICAO").values()
    )
    return Dataset(name="airports", columns=tuple(rows[0]), rows=rows)


def read_dataset(path: Path) -> Dataset:
    """Read a .csv file (with a header) or a .jsonl file (one flat object a line), UTF-8.

    Raises:
        DatasetError: the file is missing, empty, of another kind, not UTF-8, or a line of it is malformed.
    """
    readers = {".csv": _read_csv, ".jsonl": _read_json_lines, ".ndjson": _read_json_lines}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DatasetError(f"{path}: cannot tell what this is; name it .csv or .jsonl")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = tuple(reader(stream, path))
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: not UTF-8 (byte {error.start}: {error.reason}); convert it first"
        ) from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error
    if not rows:
        raise DatasetError(f"{path}: there are no rows in it")
    return Dataset(name=path.stem, columns=tuple(rows[0]), rows=rows)


def _read_csv(stream: TextIO, path: Path) -> Iterator[Row]:
    csv.field_size_limit(MAX_CELL_CHARS)
    lines = csv.reader(stream, strict=True)
    try:
        header = next(lines, None)
        if header is None:
            raise DatasetError(f"{path}: the file is empty")
        columns = _check_columns(header, f"{path}: line {lines.line_num}")
        for cells in lines:
            if not cells:
                continue
            if len(cells) != len(columns):
                other = any(sign in header[0] for sign in ";\t|") if len(header) == 1 else False
                raise DatasetError(
                    f"{path}: line {lines.line_num} has {len(cells)} fields, the header has {len(columns)}"
                    + ("; separate them by commas" if other else "")
                )
            yield dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        raise DatasetError(f"{path}: line {lines.line_num}: {error}") from None


def _read_json_lines(stream: TextIO, path: Path) -> Iterator[Row]:
    columns: tuple[str, ...] | None = None
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{where} is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise DatasetError(f"{where} is no JSON object")
        row = {name: _cell(value, f"{where}: {name!r}") for name, value in document.items()}
        columns = _check_columns(row, where) if columns is None else columns
        if set(row) != set(columns):
            differing = ", ".join(sorted(set(row) ^ set(columns)))
            raise DatasetError(f"{where} does not have the fields of the first line: {differing}")
        yield {name: row[name] for name in columns}
    if columns is None:
        raise DatasetError(f"{path}: the file is empty")


def _check_columns(names: Iterable[str], where: str) -> tuple[str, ...]:
    columns = tuple(names)
    if not columns or not all(name.strip() for name in columns):
        raise DatasetError(f"{where}: a column has no name")
    if len(set(columns)) != len(columns):
        twice = sorted({name for name in columns if columns.count(name) > 1})
        raise DatasetError(f"{where}: these columns appear twice: {', '.join(twice)}")
    return columns


def _cell(value: object, where: str) -> str:
    if isinstance(value, dict | list):
        raise DatasetError(f"{where} is nested; only text, numbers, true, false and null are rows of a table")
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
    if len(text) > MAX_CELL_CHARS:
        raise DatasetError(f"{where} is longer than {MAX_CELL_CHARS} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DatasetError(f"{where} holds half of a surrogate pair, which is no text") from None
    return text
