"""Where the passphrase of a keyring comes from."""

from pathlib import Path

import pytest

from isthmus.cli.exit_code import CliError
from isthmus.cli.passphrase import read_passphrase
from isthmus.client.profile import Profile
from isthmus.transport.errors import ConfigurationError


def test_file_wins_when_both_are_there(tmp_path: Path) -> None:
    """Its line end is not part of it; its inner spaces are."""
    path = tmp_path / "passphrase"
    path.write_bytes(b"correct horse \r\n")
    path.chmod(0o600)
    profile = Profile(passphrase_file=path)
    assert read_passphrase(profile, {"ISTHMUS_PASSPHRASE": "other"}) == b"correct horse "


def test_file_is_refused_when_everybody_can_read_it(tmp_path: Path) -> None:
    """The keyring is no safer than its passphrase."""
    path = tmp_path / "passphrase"
    path.write_bytes(b"correct horse")
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="everybody on this machine"):
        read_passphrase(Profile(passphrase_file=path), {})


def test_variable_is_read_when_there_is_no_file() -> None:
    """For containers."""
    assert read_passphrase(Profile(), {"ISTHMUS_PASSPHRASE": "other"}) == b"other"


@pytest.mark.parametrize("content", [None, b"", b"\n"])
def test_file_is_refused_when_it_is_missing_or_empty(tmp_path: Path, content: bytes | None) -> None:
    """An empty passphrase protects nothing."""
    path = tmp_path / "passphrase"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(CliError, match="passphrase file"):
        read_passphrase(Profile(passphrase_file=path), {})


def test_nobody_is_asked_when_there_is_no_terminal() -> None:
    """A script gets an error that says what to set, not a prompt that hangs."""
    with pytest.raises(CliError, match="ISTHMUS_PASSPHRASE_FILE"):
        read_passphrase(Profile(), {})


def test_passphrase_is_typed_twice_when_a_keyring_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error would lose the keys."""
    asked: dict[str, object] = {}

    def prompt(text: str, **options: object) -> str:
        asked.update(options)
        return "typed"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", prompt)
    assert read_passphrase(Profile(), {}, confirm=True) == b"typed"
    assert (asked["hide_input"], asked["confirmation_prompt"]) == (True, True)
