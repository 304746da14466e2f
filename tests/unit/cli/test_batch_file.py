"""The file of a batch: what it may hold, and that every id is known before anything is sent."""

import io
import re
from pathlib import Path

import pytest

from isthmus.cli import batch_file
from isthmus.cli.batch_file import BatchRequest, read_batch
from isthmus.cli.exit_code import CliError


def file_of(tmp_path: Path, *lines: str) -> str:
    """Write a file of these lines."""
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_lines_are_numbered_when_there_is_a_prefix(tmp_path: Path) -> None:
    """Blank lines are counted: a number is a place in the file."""
    source = file_of(tmp_path, '{"n": 1}', "", '  ["any", "JSON"] ', "null")
    assert read_batch(source, id_prefix="may-", id_field=None) == [
        BatchRequest(line=1, id="may-1", value={"n": 1}),
        BatchRequest(line=3, id="may-3", value=["any", "JSON"]),
        BatchRequest(line=4, id="may-4", value=None),
    ]


def test_ids_are_those_of_a_field_when_it_is_named(tmp_path: Path) -> None:
    """Text or whole numbers, as deep as one likes, and with a prefix if there is one."""
    source = file_of(tmp_path, '{"order": {"id": "a"}}', '{"order": {"id": 7}}')
    assert [each.id for each in read_batch(source, id_prefix=None, id_field="order.id")] == ["a", "7"]
    assert [each.id for each in read_batch(source, id_prefix="x-", id_field="order.id")] == ["x-a", "x-7"]


def test_standard_input_is_read_when_the_source_is_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line may lack its end."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1\n2")))
    assert [each.value for each in read_batch("-", id_prefix="", id_field=None)] == [1, 2]


@pytest.mark.parametrize(
    ("lines", "id_field", "words"),
    [
        (["{"], None, "line 1 of .* is no JSON"),
        (["1", "[1,"], None, "line 2 of .* is no JSON"),
        ([" "], None, "has no requests"),
        (['{"id": "a"}', '{"id": "b"}', '{"id": "a"}'], "id", "lines 1 and 3 of .* the same id, a"),
        (['{"id": 1}', '{"id": "1"}'], "id", "the same id, 1"),
        (['{"other": 1}'], "id", "line 1 of .* has no id: its field id"),
        (['{"id": true}'], "id", "has no id"),
        (['{"id": 1.5}'], "id", "has no id"),
        (['{"id": ""}'], "id", "has no id"),
        (['"text"'], "id", "has no id"),
    ],
)
def test_batch_is_refused_as_a_whole_when_one_line_is_wrong(
    tmp_path: Path, lines: list[str], id_field: str | None, words: str
) -> None:
    """Nothing has been sent then; the message says which line."""
    with pytest.raises(CliError, match=words):
        read_batch(file_of(tmp_path, *lines), id_prefix=None if id_field else "p-", id_field=id_field)


def test_batch_is_refused_when_nothing_says_which_ids(tmp_path: Path) -> None:
    """Without ids a repeated batch would do everything twice."""
    with pytest.raises(CliError, match=re.escape("--id-field")):
        read_batch(file_of(tmp_path, "1"), id_prefix=None, id_field=None)


def test_batch_is_refused_when_it_is_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many lines, a line that no operation takes, or more than is read into memory."""
    source = file_of(tmp_path, "1", "2", "3")
    monkeypatch.setattr(batch_file, "MOST_REQUESTS", 2)
    with pytest.raises(CliError, match="more than 2 requests"):
        read_batch(source, id_prefix="", id_field=None)
    monkeypatch.setattr(batch_file, "MAX_INPUT_BYTES", 0)
    with pytest.raises(CliError, match=r"line 1 of .* larger than 0 bytes"):
        read_batch(source, id_prefix="", id_field=None)
    monkeypatch.setattr(batch_file, "MAX_BATCH_BYTES", 5)
    with pytest.raises(CliError, match="larger than 5 bytes"):
        read_batch(source, id_prefix="", id_field=None)
