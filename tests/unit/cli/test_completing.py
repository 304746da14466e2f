"""What a shell is told when somebody presses Tab: asked as bash does, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.keys.trust import TrustStore

PROFILES = """
[profiles.data-team]
address = "https://192.0.2.1:1"
keyring = "nowhere.keyring"
trust_store = "trust.json"

[profiles.platform]
address = "https://192.0.2.1:1"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Profiles of a gateway that is not there, and a trust store; no keyring."""
    (tmp_path / "profiles.toml").write_text(PROFILES)
    trust = TrustStore(tmp_path / "trust.json", trust_domain="example.internal")
    for number, namespace in enumerate(("app-team", "apple-team", "billing-team")):
        trust.add(namespace, bytes([number]) * 32)
    return tmp_path


def completed(line: str, folder: Path, **environment: str) -> list[str]:
    """Return what bash is told to complete a line with; the cursor stands at its end."""
    words = line.split(" ")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
    asked = subprocess.run(
        [sys.executable, "-m", "isthmus.cli"],
        cwd=folder,
        env=variables
        | environment
        | {"_ISTHMUS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert asked.stderr == ""
    return asked.stdout.split()


def test_names_are_completed_when_files_here_have_them(folder: Path) -> None:
    """Commands, profiles and pins; by variable or by option, without a gateway and without a passphrase."""
    config = str(folder / "profiles.toml")
    assert completed("isthmus trust rem", folder) == ["remove"]
    assert completed("isthmus --profile ", folder, ISTHMUS_CONFIG=config) == ["data-team", "platform"]
    assert completed(f"isthmus --config {config} --profile p", folder) == ["platform"]
    remove = f"isthmus --config {config} --profile data-team trust remove"
    assert completed(f"{remove} app", folder) == ["app-team", "apple-team"]
    with_variables = {"ISTHMUS_CONFIG": config, "ISTHMUS_PROFILE": "data-team"}
    assert completed("isthmus trust verify b", folder, **with_variables) == ["billing-team"]


@pytest.mark.parametrize("broken", ["profiles.toml", "trust.json"])
def test_nothing_is_completed_when_a_file_is_broken(folder: Path, broken: str) -> None:
    """The command itself says what is wrong; a traceback in the middle of a line helps nobody."""
    (folder / broken).write_text("[")
    variables = {"ISTHMUS_CONFIG": str(folder / "profiles.toml"), "ISTHMUS_PROFILE": "data-team"}
    assert completed("isthmus trust remove ", folder, **variables) == []
