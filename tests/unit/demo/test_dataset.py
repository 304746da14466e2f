"""The input of the demonstration, good and bad."""

from pathlib import Path

import pytest

from isthmus.demo.dataset import DatasetError, load_airports, read_dataset


def write(folder: Path, name: str, content: bytes) -> Path:
    """Write a file and return where it is."""
    path = folder / name
    path.write_bytes(content)
    return path


def test_airports_are_many_when_the_extra_is_installed() -> None:
    """The demonstration's own data."""
    airports = load_airports()
    assert len(airports.rows) > 28_000
    assert {"name", "country", "lat", "lon", "tz"} <= set(airports.columns)


def test_csv_is_read_when_it_is_well_formed(tmp_path: Path) -> None:
    """Byte order mark, quotes, line breaks in cells, blank lines."""
    path = write(tmp_path, "mine.csv", '\ufeffname,note\n"A, B","two\nlines"\n\nC,\n'.encode())
    dataset = read_dataset(path)
    assert dataset.name == "mine"
    assert dataset.rows == ({"name": "A, B", "note": "two\nlines"}, {"name": "C", "note": ""})


def test_json_lines_are_read_when_they_are_well_formed(tmp_path: Path) -> None:
    """Fields in any order; what is no text becomes its JSON form."""
    path = write(tmp_path, "mine.jsonl", b'{"a": 1.5, "b": null}\n\n{"b": "x", "a": true}\n')
    dataset = read_dataset(path)
    assert dataset.columns == ("a", "b")
    assert dataset.rows == ({"a": "1.5", "b": ""}, {"a": "true", "b": "x"})


BAD = {
    "empty_csv": ("x.csv", b"", "the file is empty"),
    "header_only": ("x.csv", b"a,b\n", "there are no rows"),
    "ragged": ("x.csv", b"a,b\n1,2\n1,2,3\n", "line 3 has 3 fields, the header has 2"),
    "too_short": ("x.csv", b"a,b\n1\n", "line 2 has 1 fields"),
    "semicolons": ("x.csv", b"a;b\n1,5;2\n", "the header has 1; separate them by commas"),
    "column_twice": ("x.csv", b"a,a\n1,2\n", "appear twice: a"),
    "column_without_name": ("x.csv", b"a,\n1,2\n", "a column has no name"),
    "open_quote": ("x.csv", b'a,b\n1,"2\n', "unexpected end of data"),
    "huge_cell": ("x.csv", b"a\n" + b"x" * 200_000 + b"\n", "field larger than field limit"),
    "not_utf8": ("x.csv", b"a\n\xff\n", "not UTF-8"),
    "empty_jsonl": ("x.jsonl", b"\n \n", "the file is empty"),
    "bad_json": ("x.jsonl", b'{"a": 1}\n{"a": \n', "line 2 is not JSON"),
    "no_object": ("x.jsonl", b"[1]\n", "line 1 is no JSON object"),
    "nested": ("x.jsonl", b'{"a": {"b": 1}}\n', "line 1: 'a' is nested"),
    "other_fields": (
        "x.jsonl",
        b'{"a": 1}\n{"b": 1}\n',
        "line 2 does not have the fields of the first line: a, b",
    ),
    "empty_object": ("x.jsonl", b"{}\n", "a column has no name"),
    "deep": ("x.jsonl", b"[" * 100_000, "line 1 is not JSON"),
    "surrogate": ("x.jsonl", b'{"a": "\\ud800"}\n', "half of a surrogate pair"),
    "jsonl_not_utf8": ("x.jsonl", b'{"a": "\xff"}\n', "not UTF-8"),
    "unknown_kind": ("x.parquet", b"PAR1", "name it .csv or .jsonl"),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD.values(), ids=BAD)
def test_file_is_refused_when_it_is_malformed(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    """The error names the file, and the line where there is one."""
    path = write(tmp_path, name, content)
    with pytest.raises(DatasetError, match=message) as refused:
        read_dataset(path)
    assert str(path) in str(refused.value)


def test_file_is_refused_when_it_is_missing_or_a_directory(tmp_path: Path) -> None:
    """As the system says it."""
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    for path in (tmp_path / "missing.csv", folder):
        with pytest.raises(DatasetError, match="cannot be read"):
            read_dataset(path)
