"""Bundles on the command line: made by several people, taken in by a team. No gateway has a part in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.keys.world import PASSPHRASE, TRUST_DOMAIN, make_keyring
from typer.testing import CliRunner

from isthmus.cli.app import app

APP, DATA = f"SHA256:{bytes(range(32)).hex()}", f"SHA256:{bytes(32).hex()}"
PINS = f"""
[[pins]]
namespace = "app-team"
fingerprint = "{APP}"
endpoints = ["payments"]

[[pins]]
namespace = "data-team"
fingerprint = "{DATA}"
"""
Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in a folder with a team's keyring; return what it printed, or its message."""
    make_keyring(tmp_path / "keyring.json")
    monkeypatch.chdir(tmp_path)
    environment = {
        "ISTHMUS_CONFIG": str(tmp_path / "none.toml"),
        "ISTHMUS_KEYRING": "keyring.json",
        "ISTHMUS_TRUST_STORE": "trust.json",
        "ISTHMUS_PASSPHRASE": PASSPHRASE.decode(),
    }
    (tmp_path / "none.toml").write_text("")
    (tmp_path / "pins.toml").write_text(PINS)

    def command(*words: str, code: int = 0, stdin: str = "") -> Any:  # noqa: ANN401 - what it prints
        result = CliRunner().invoke(app, ["--output", "json", *words], env=environment, input=stdin)
        assert result.exit_code == code, result.stderr
        return json.loads(result.stdout) if result.stdout else result.stderr

    return command


@pytest.fixture
def bundle(run: Run, tmp_path: Path) -> str:
    """The first bundle of acme, which two of two signed; returns the fingerprint of its root."""
    for name in ("alice", "bob"):
        made = run("root", "new", f"{name}.root", "--organization", "acme", "--trust-domain", TRUST_DOMAIN)
        (tmp_path / f"{name}.pub").write_text(made["public"])
    whose = ("--organization", "acme", "--trust-domain", TRUST_DOMAIN, "--pins", "pins.toml")
    keys = ("--key", "alice.pub", "--key", "bob.pub", "--threshold", "2")
    drafted = run("trust", "bundle", "draft", "1.bundle", *whose, *keys)
    assert drafted["missing_signatures"] == ["2 of the new root", "2 of the bundle"]
    for name in ("alice", "bob"):
        drafted = run("trust", "bundle", "sign", "1.bundle", "--root", f"{name}.root")
    assert drafted["missing_signatures"] == []
    fingerprint: str = drafted["fingerprint"]
    return fingerprint


def test_team_trusts_whom_the_organization_vouches_for(run: Run, bundle: str, tmp_path: Path) -> None:
    """Added, shown with its origin, updated from stdin, and forgotten."""
    assert "add" in run("trust", "bundle", "update", "1.bundle", code=2)
    assert run("trust", "bundle", "add", "1.bundle", "--fingerprint", DATA, code=1).startswith("isthmus: the")
    added = run("trust", "bundle", "add", "1.bundle", "--fingerprint", bundle)
    assert added["changes"] == ["app-team: new", "data-team: new"]
    assert len(added["signed_by"]) == 2
    own = run("trust", "add", "data-team", "--fingerprint", APP)
    assert own["pinned_by"] == "a person"
    listed = {entry["namespace"]: entry for entry in run("trust", "list")}
    assert listed["app-team"]["pinned_by"] == "bundle of acme"
    assert listed["app-team"]["endpoints"] == ["payments"]
    assert listed["app-team"]["ends_at"] == added["ends_at"]
    assert "you pinned" in listed["data-team"]["conflicts"][0]
    assert "goes on until" in run("trust", "remove", "app-team", code=5)
    assert "a bundle still vouches" in run("trust", "remove", "data-team")

    pins = [{"namespace": "app-team", "fingerprint": APP, "endpoints": ["refunds"]}]
    (tmp_path / "pins.json").write_text(json.dumps(pins))
    drafted = run("trust", "bundle", "draft", "2.bundle", "--after", "1.bundle", "--pins", "pins.json")
    changes = [
        "data-team: left out",
        "app-team: endpoint refunds new",
        "app-team: endpoint payments left out",
    ]
    assert drafted["changes"] == changes
    for name in ("alice", "bob"):
        run("trust", "bundle", "sign", "2.bundle", "--root", f"{name}.root")
    assert run("trust", "bundle", "show", "2.bundle", "--after", "1.bundle")["changes"] == changes
    updated = run("trust", "bundle", "update", "-", stdin=(tmp_path / "2.bundle").read_text())
    assert (updated["version"], updated["changes"]) == (2, changes)
    assert [entry["namespace"] for entry in run("trust", "list")] == ["app-team"]
    assert "rollback" in run("trust", "bundle", "update", "1.bundle", code=1)
    assert [entry["version"] for entry in run("trust", "bundle", "list")] == [2]
    assert "not trusted any more: app-team" in run("trust", "bundle", "remove", "acme")
    assert run("trust", "list") == []
    assert "no bundle" in run("trust", "bundle", "remove", "acme", code=4)


def test_nothing_is_written_when_a_command_only_says_what_it_would_do(
    run: Run, bundle: str, tmp_path: Path
) -> None:
    """Every command that writes; the folder is byte for byte the same."""
    run("trust", "bundle", "add", "1.bundle", "--fingerprint", bundle)
    run("trust", "bundle", "draft", "2.bundle", "--after", "1.bundle")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for words in (
        ("draft", "3.bundle", "--after", "1.bundle"),
        ("sign", "2.bundle", "--root", "alice.root"),
        ("add", "1.bundle", "--fingerprint", bundle),
        ("update", "1.bundle"),
        ("remove", "acme"),
    ):
        run("trust", "bundle", *words, "--dry-run")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_draft_is_refused_when_it_would_make_no_bundle(run: Run, bundle: str, tmp_path: Path) -> None:
    """The message says what is wrong; nothing is written."""
    after = ("trust", "bundle", "draft", "2.bundle", "--after", "1.bundle")
    refused = {
        "pins = 1": "no list of pins",
        "[other]": "something else than pins",
        f'[[pins]]\nnamespace = "a"\nfingerprint = "{APP}"\nendpoint = "b"': "has endpoint",
        '[[pins]]\nnamespace = "a"': "lacks fingerprint",
        f'[[pins]]\nnamespace = "A"\nfingerprint = "{APP}"': "a namespace is",
        PINS + 'endpoints = ["payments"]': "app-team and data-team both claim",
        PINS.replace("payments", "pay ments"): "an endpoint is",
        f'[[pins]]\nnamespace = "a"\nfingerprint = "{APP}"\nendpoints = [1]': "not made of text",
        "[[pins": "neither TOML",
    }
    for text, said in refused.items():
        (tmp_path / "wrong.toml").write_text(text)
        words = (*after, "--pins", "wrong.toml")
        message = run(*words, code=1 if "claim" in said or " is" in said else 2)
        assert said in message, message
    (tmp_path / "store.json").write_text(
        json.dumps(
            {"namespaces": [{"namespace": "a", "fingerprint": DATA, "endpoints": [], "on_first_use": True}]}
        )
    )
    assert "on first use" in run(*after, "--pins", "store.json", code=2)
    assert "at most" in run(*after, "--life", "400d", code=1)
    assert "without --after" in run(*after, "--organization", "acme", code=2)
    assert "a first bundle needs" in run("trust", "bundle", "draft", "2.bundle", code=2)
    assert "there is one already" in run("trust", "bundle", "draft", "1.bundle", code=5)
    assert not (tmp_path / "2.bundle").exists()


def test_pins_of_a_trust_store_become_a_bundle(run: Run, bundle: str) -> None:
    """Its file, or what `trust list` prints of it."""
    del bundle
    run("trust", "add", "ai-team", "--fingerprint", DATA, "--endpoint", "agents")
    Path("list.json").write_text(json.dumps(run("trust", "list")))
    for source in ("trust.json", "list.json"):
        drafted = run(
            "trust", "bundle", "draft", "2.bundle", "--after", "1.bundle", "--pins", source, "--dry-run"
        )
        assert drafted["pins"] == [{"namespace": "ai-team", "fingerprint": DATA, "endpoints": ["agents"]}]


def test_key_signs_nothing_when_it_is_of_something_else(run: Run, bundle: str, tmp_path: Path) -> None:
    """A key of a namespace's root is none of the organization's."""
    del bundle, tmp_path
    run("root", "new", "team.root", "--namespace", "acme", "--trust-domain", TRUST_DOMAIN)
    assert "a root key of acme" in run("trust", "bundle", "sign", "1.bundle", "--root", "team.root", code=1)
    run("root", "new", "carol.root", "--organization", "acme", "--trust-domain", TRUST_DOMAIN)
    assert "nothing to sign" in run("trust", "bundle", "sign", "1.bundle", "--root", "carol.root", code=1)
    assert "whose key" in run("root", "new", "x.root", "--trust-domain", TRUST_DOMAIN, code=2)
