"""What the data team does before it calls anybody: clean the rows, refuse the wrong ones, cut batches."""

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isthmus.demo.dataset import Dataset, DatasetError, Row
from isthmus.demo.geography import coordinates
from isthmus.demo.services import Batch, ColumnSummary, DatasetSummary

MAX_BATCH_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Rows that are fit to be sent, and how many were not."""

    rows: tuple[Row, ...]
    duplicates: int
    rejected: int
    """Rows whose coordinates are not on Earth."""


def prepare(dataset: Dataset) -> Prepared:
    """Trim and normalize every value, drop repeated rows and those whose coordinates are wrong."""
    seen: set[tuple[str, ...]] = set()
    rows: list[Row] = []
    rejected = 0
    for raw in dataset.rows:
        row = {name: unicodedata.normalize("NFC", value.strip()) for name, value in raw.items()}
        if not _is_valid(row):
            rejected += 1
        elif (values := tuple(row.values())) not in seen:
            seen.add(values)
            rows.append(row)
    return Prepared(rows=tuple(rows), duplicates=len(dataset.rows) - rejected - len(rows), rejected=rejected)


def cut_batches(rows: Sequence[Row], *, batch_rows: int) -> Iterator[Batch]:
    """Yield batches of at most ``batch_rows`` rows and 1 MiB, numbered from 1.

    Raises:
        DatasetError: a single row is larger than a batch may be.
    """
    number, pending, pending_bytes = 1, list[Row](), 0
    for row in rows:
        row_bytes = len(json.dumps(row, ensure_ascii=False).encode())
        if row_bytes > MAX_BATCH_BYTES:
            raise DatasetError(f"a row has {row_bytes} bytes, more than the {MAX_BATCH_BYTES} of a batch")
        if pending and (len(pending) == batch_rows or pending_bytes + row_bytes > MAX_BATCH_BYTES):
            yield Batch(number=number, rows=pending)
            number, pending, pending_bytes = number + 1, [], 0
        pending.append(row)
        pending_bytes += row_bytes
    if pending:
        yield Batch(number=number, rows=pending)


def digest_rows(rows: Sequence[Row]) -> str:
    """Return the SHA-256 of rows in their order, hexadecimal; the order of their columns does not count."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def summarize(name: str, rows: Sequence[Row]) -> DatasetSummary:
    """Say how full and how varied each column is."""
    columns = [
        ColumnSummary(
            name=column,
            filled=sum(1 for row in rows if row[column]),
            distinct=len({row[column] for row in rows}),
        )
        for column in (rows[0] if rows else ())
    ]
    return DatasetSummary(dataset=name, rows=len(rows), columns=columns)


def _is_valid(row: Row) -> bool:
    try:
        coordinates(row)
    except ValueError:
        return False
    return True
