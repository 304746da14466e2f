"""How long keysets live, as the commands that make a delegation say it."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.keys.world import FAST, PASSPHRASE, TRUST_DOMAIN
from typer.testing import CliRunner, Result

from isthmus.cli.app import app
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.statements import keyset_life_ms
from isthmus.wire.chain import DAY_MS


class Team:
    """A team with a profile, that can reach no gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "keyring.json"
        config = folder / "profiles.toml"
        config.write_text("")
        self._environment = {
            "ISTHMUS_CONFIG": str(config),
            "ISTHMUS_KEYRING": str(self.path),
            "ISTHMUS_PASSPHRASE": PASSPHRASE.decode(),
        }

    def __call__(self, *words: str) -> Result:
        """Run a command."""
        return CliRunner().invoke(app, ["--output", "json", *words], env=self._environment)

    def life_ms(self) -> int:
        """Return how long the next keyset will live."""
        return keyset_life_ms(FileKeyring(self.path, PASSPHRASE).contents)

    def drafted(self, name: str, *words: str) -> dict[str, Any]:
        """Return what a draft says."""
        made = self("root", "draft", str(self.folder / name), *words)
        assert made.exit_code == 0, made.stderr
        said: dict[str, Any] = json.loads(made.stdout)
        return said


@pytest.fixture
def team(tmp_path: Path) -> Team:
    """A team with a keyring."""
    made = Team(tmp_path)
    FileKeyring.create(
        made.path,
        PASSPHRASE,
        namespace="app-team",
        trust_domain=TRUST_DOMAIN,
        now_ms=1_790_000_000_000,
        parameters=FAST,
    )
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
