"""How long keysets live, as the commands that make a delegation say it."""

from pathlib import Path

import pytest
from tests.unit.cli.offline_team import Team

from isthmus.wire.chain import DAY_MS


@pytest.fixture
def team(tmp_path: Path) -> Team:
    """A team with a keyring."""
    made = Team(tmp_path)
    made.make_keyring()
    return made


def test_keysets_live_as_long_as_said_when_the_root_delegates(team: Team) -> None:
    """From then on, until another delegation says something else; a dry run says it, too."""
    assert team.life_ms() == 7 * DAY_MS
    tried = team("keys", "delegate", "--keyset-life", "24h", "--dry-run")
    assert (tried.exit_code, "live for 1d" in tried.stderr, team.life_ms()) == (0, True, 7 * DAY_MS)
    assert team("keys", "delegate", "--keyset-life", "24h").exit_code == 0
    assert team.life_ms() == DAY_MS
    assert team("keys", "delegate").exit_code == 0
    assert team.life_ms() == DAY_MS
    assert team.drafted("same.json")["keyset_life"] == "1d"
    assert team.drafted("other.json", "--keyset-life", "90m")["keyset_life"] == "90m"


def test_first_delegation_says_how_long_keysets_live_when_keys_are_made(tmp_path: Path) -> None:
    """Where several people hold the root, the draft says it."""
    team = Team(tmp_path)
    words = ("keys", "init", "--namespace", "app-team", "--trust-domain", "acme", "--keyset-life", "12h")
    shared = team(*words, "--shared-root")
    assert (shared.exit_code, "isthmus root draft" in shared.stderr) == (2, True)
    made = team(*words)
    assert (made.exit_code, team.life_ms()) == (0, DAY_MS // 2)


@pytest.mark.parametrize("life", ["59m", "8d", "0", "soon"])
@pytest.mark.parametrize("words", [("keys", "delegate"), ("root", "draft", "new.json")])
def test_life_is_refused_when_it_makes_no_sense(team: Team, words: tuple[str, ...], life: str) -> None:
    """Too short for those who renew, or longer than without."""
    refused = team(*words, "--keyset-life", life)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert team.life_ms() == 7 * DAY_MS
