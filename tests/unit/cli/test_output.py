"""What commands print."""

import json
from datetime import UTC, datetime

import pytest

from isthmus.cli.output import Output, OutputFormat, printable, show

ROW = {
    "name": "payments",
    "created_at": datetime(2026, 11, 22, 12, tzinfo=UTC),
    "allow": ["a", "b"],
    "note": None,
}


def test_rows_are_one_json_document_when_json_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    """All fields, not only the columns of the table."""
    Output(OutputFormat.JSON).rows([ROW], ["name"])
    assert json.loads(capsys.readouterr().out) == [
        {"name": "payments", "created_at": "2026-11-22T12:00:00Z", "allow": ["a", "b"], "note": None}
    ]


def test_rows_are_an_empty_array_when_there_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read JSON in any case; people read a sentence on stderr."""
    Output(OutputFormat.JSON).rows([], ["name"])
    Output(OutputFormat.TABLE).rows([], ["name"], empty="Nobody here.")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("[]\n", "Nobody here.\n")


def test_table_shows_columns_when_people_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Absent values are dashes; brackets are no markup."""
    Output(OutputFormat.TABLE).rows([ROW | {"name": "[red]x[/red]"}], ["name", "created_at", "note"])
    out = capsys.readouterr().out
    assert "CREATED AT" in out
    assert "[red]x[/red]" in out
    assert "2026-11-22 12:00:00" in out
    assert "-" in out


def test_document_shows_lists_below_each_other_when_people_read_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Names are padded to one width."""
    Output(OutputFormat.TABLE).document({"name": "x", "allow": ["a", "b"]})
    assert capsys.readouterr().out == "name   x\nallow  a\n       b\n"


def test_control_characters_are_replaced_when_text_comes_from_others() -> None:
    """Another team's description must not write over the terminal."""
    assert printable("a\x1b[2Jb\x07\nc") == "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}\nc"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), ("", "-"), (True, "yes"), (False, "no"), ([], "-"), (0, "0")]
)
def test_value_is_plain_when_it_is_shown(value: object, text: str) -> None:
    """Zero is a value, nothing is a dash."""
    assert show(value) == text
