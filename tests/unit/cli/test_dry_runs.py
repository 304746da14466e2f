"""A dry run ends as the command would end: the same checks, the same exit code, and nothing changes."""

from pathlib import Path

import pytest
from tests.unit.cli.offline_team import Team

from isthmus.keys.unfinished import note_beginning

NEW_KEYS = ("keys", "init", "--namespace", "app-team", "--trust-domain", "acme")
NEW_ROOT = ("root", "new", "alice.root", "--namespace", "app-team", "--trust-domain", "acme")
PROTECT = ("keys", "protect", "--custody", "file")


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    """A team without keys, in its folder."""
    monkeypatch.chdir(tmp_path)
    return Team(tmp_path)


def ends(team: Team, *words: str) -> tuple[int, str]:
    """Return how a dry run ends and what it says, and require that the command ends so, and says so."""
    before = {path: path.read_bytes() for path in team.folder.iterdir()}
    tried = team(*words, "--dry-run")
    assert {path: path.read_bytes() for path in team.folder.iterdir()} == before
    done = team(*words)
    assert tried.exit_code == done.exit_code, (tried.stderr, done.stderr)
    if tried.exit_code:
        assert tried.stderr == done.stderr
    return tried.exit_code, tried.stderr


@pytest.mark.parametrize("words", [NEW_KEYS, (*NEW_KEYS, "--shared-root"), NEW_ROOT])
def test_keys_are_not_made_when_there_is_no_passphrase(team: Team, words: tuple[str, ...]) -> None:
    """And nobody to ask."""
    del team.environment["ISTHMUS_PASSPHRASE"]
    code, said = ends(team, *words)
    assert (code, "needs a passphrase" in said) == (2, True)


@pytest.mark.parametrize("words", [NEW_KEYS, NEW_ROOT])
def test_keys_are_made_once_when_a_command_is_repeated(team: Team, words: tuple[str, ...]) -> None:
    """The second time, it conflicts with what exists; nobody is asked for a passphrase first."""
    assert ends(team, *words)[0] == 0
    del team.environment["ISTHMUS_PASSPHRASE"]
    code, said = ends(team, *words)
    assert (code, "there is one already" in said) == (5, True)


def test_keys_are_not_made_when_somebody_put_a_root_there(team: Team) -> None:
    """Whatever is missing beside it."""
    (team.folder / "keyring.json.root").write_text("somebody's root")
    code, said = ends(team, *NEW_KEYS)
    assert (code, "keyring.json.root" in said) == (5, True)


def test_keys_are_made_when_a_killed_command_left_half_of_them(team: Team) -> None:
    """What it noted that it would write, and nothing else."""
    left = team.folder / "keyring.json.signer"
    left.write_bytes(b"half")
    note_beginning(team.folder / "keyring.json.init", {left: b"half"})
    assert ends(team, *NEW_KEYS)[0] == 0


def test_passphrase_stays_when_there_is_no_new_one(team: Team) -> None:
    """And nobody to ask for it; with one, both go on."""
    team.make_keyring()
    code, said = ends(team, *PROTECT)
    assert (code, "the new passphrase?" in said) == (2, True)
    team.environment["ISTHMUS_NEW_PASSPHRASE"] = "another horse"
    assert ends(team, *PROTECT)[0] == 0
