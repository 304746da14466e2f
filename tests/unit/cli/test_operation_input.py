"""The input of a call."""

import io
from pathlib import Path

import pytest

from isthmus.cli import operation_input
from isthmus.cli.exit_code import CliError
from isthmus.cli.operation_input import read_input


def test_input_is_none_when_nothing_is_given() -> None:
    """An operation may take nothing."""
    assert read_input(None, []) is None


def test_settings_make_an_object_when_there_is_no_file() -> None:
    """Values are JSON where they are, text otherwise; dots go deeper."""
    settings = ["amount=3", "customer.name=Ada", "paid=true", "note=a=b", "code=007x"]
    assert read_input(None, settings) == {
        "amount": 3,
        "customer": {"name": "Ada"},
        "paid": True,
        "note": "a=b",
        "code": "007x",
    }


def test_settings_win_when_a_file_is_given_too(tmp_path: Path) -> None:
    """The file is a template."""
    path = tmp_path / "input.json"
    path.write_text('{"amount": 1, "currency": "EUR"}')
    assert read_input(str(path), ["amount=2"]) == {"amount": 2, "currency": "EUR"}


def test_stdin_is_read_when_the_source_is_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Like everywhere else."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"[1, 2]")))
    assert read_input("-", []) == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "is no JSON"), (b"\xff", "is not UTF-8"), (b"[" * 100_000, "is no JSON")],
)
def test_file_is_refused_when_it_is_no_json(tmp_path: Path, content: bytes, message: str) -> None:
    """The error names the file."""
    path = tmp_path / "input.json"
    path.write_bytes(content)
    with pytest.raises(CliError, match=message):
        read_input(str(path), [])


def test_file_is_refused_when_it_is_missing(tmp_path: Path) -> None:
    """So is a directory."""
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(CliError, match="cannot read the input"):
            read_input(str(path), [])


def test_file_is_refused_when_it_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An envelope holds 4 MiB."""
    monkeypatch.setattr(operation_input, "MAX_INPUT_BYTES", 4)
    path = tmp_path / "input.json"
    path.write_bytes(b"[1, 2]")
    with pytest.raises(CliError, match="larger than 4 bytes"):
        read_input(str(path), [])


@pytest.mark.parametrize("setting", ["amount", "=3", "a.b=1"])
def test_setting_is_refused_when_it_cannot_be_put(setting: str) -> None:
    """No name, no value, or a field inside of something that has none."""
    with pytest.raises(CliError, match="--set"):
        read_input(None, ["a=1", setting])
