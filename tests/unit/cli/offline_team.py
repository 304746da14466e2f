"""A team that has a profile and a keyring, and can reach no gateway."""

import json
from pathlib import Path
from typing import Any

from tests.unit.keys.world import FAST, PASSPHRASE, TRUST_DOMAIN
from typer.testing import CliRunner, Result

from isthmus.cli.app import app
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.statements import keyset_life_ms


class Team:
    """Runs commands with the profile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "keyring.json"
        config = folder / "profiles.toml"
        config.write_text("")
        self.environment = {
            "ISTHMUS_CONFIG": str(config),
            "ISTHMUS_KEYRING": str(self.path),
            "ISTHMUS_PASSPHRASE": PASSPHRASE.decode(),
        }

    def __call__(self, *words: str) -> Result:
        """Run a command."""
        return CliRunner().invoke(app, ["--output", "json", *words], env=self.environment)

    def make_keyring(self) -> None:
        """Make the keys that commands of it change."""
        FileKeyring.create(
            self.path,
            PASSPHRASE,
            namespace="app-team",
            trust_domain=TRUST_DOMAIN,
            now_ms=1_790_000_000_000,
            parameters=FAST,
        )

    def life_ms(self) -> int:
        """Return how long the next keyset will live."""
        return keyset_life_ms(FileKeyring(self.path, PASSPHRASE).contents)

    def drafted(self, name: str, *words: str) -> dict[str, Any]:
        """Return what a draft says."""
        made = self("root", "draft", str(self.folder / name), *words)
        assert made.exit_code == 0, made.stderr
        said: dict[str, Any] = json.loads(made.stdout)
        return said
