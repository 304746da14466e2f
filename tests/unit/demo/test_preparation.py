"""What the data team does to its rows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.demo.dataset import Dataset, DatasetError, Row
from isthmus.demo.preparation import MAX_BATCH_BYTES, cut_batches, digest_rows, prepare, summarize

ROWS = st.lists(st.fixed_dictionaries({"a": st.text(max_size=5), "b": st.text(max_size=5)}), max_size=30)


def dataset(*rows: Row) -> Dataset:
    """Return a dataset of these rows."""
    return Dataset(name="mine", columns=tuple(rows[0]), rows=rows)


def test_rows_are_trimmed_normalized_and_unique_when_they_are_prepared() -> None:
    """An accent is one character, a repeated row is one row."""
    prepared = prepare(dataset({"name": " Zu\u0308rich "}, {"name": "Z\u00fcrich"}))
    assert prepared.rows == ({"name": "Z\u00fcrich"},)
    assert (prepared.duplicates, prepared.rejected) == (1, 0)


@pytest.mark.parametrize(("latitude", "longitude"), [("91", "0"), ("0", "181"), ("nan", "0"), ("north", "0")])
def test_row_is_rejected_when_its_coordinates_are_not_on_earth(latitude: str, longitude: str) -> None:
    """The others stay."""
    good = {"lat": "47.4", "lon": "8.5"}
    prepared = prepare(dataset(good, {"lat": latitude, "lon": longitude}))
    assert prepared.rows == (good,)
    assert prepared.rejected == 1


@given(rows=ROWS, batch_rows=st.integers(min_value=1, max_value=10))
def test_batches_hold_every_row_once_when_they_are_cut(rows: list[Row], batch_rows: int) -> None:
    """In order, numbered from one, none empty, none too large."""
    batches = list(cut_batches(rows, batch_rows=batch_rows))
    assert [row for batch in batches for row in batch.rows] == rows
    assert [batch.number for batch in batches] == list(range(1, len(batches) + 1))
    assert all(0 < len(batch.rows) <= batch_rows for batch in batches)


def test_batch_is_cut_by_size_when_rows_are_large() -> None:
    """An envelope has its limit."""
    rows = [{"a": "x" * (MAX_BATCH_BYTES // 3)} for _ in range(5)]
    batches = list(cut_batches(rows, batch_rows=100))
    assert [len(batch.rows) for batch in batches] == [2, 2, 1]
    assert all(len(json.dumps(batch.rows)) <= MAX_BATCH_BYTES + 100 for batch in batches)


def test_row_is_refused_when_it_is_larger_than_a_batch() -> None:
    """It could not be sent at all."""
    with pytest.raises(DatasetError, match="more than"):
        list(cut_batches([{"a": "x" * (MAX_BATCH_BYTES + 1)}], batch_rows=1))


def test_digest_differs_when_a_row_moves_or_changes() -> None:
    """The order of columns does not count, the order of rows does."""
    first, second = {"a": "1", "b": "2"}, {"a": "3", "b": "4"}
    assert digest_rows([first, second]) == digest_rows([{"b": "2", "a": "1"}, second])
    assert digest_rows([first, second]) != digest_rows([second, first])


def test_summary_counts_values_when_some_are_empty() -> None:
    """Filled, and distinct."""
    summary = summarize("mine", [{"a": "1"}, {"a": ""}, {"a": "1"}])
    assert [(column.name, column.filled, column.distinct) for column in summary.columns] == [("a", 2, 2)]
