"""What key holders are shown before they sign."""

import json
from dataclasses import replace
from pathlib import Path

from tests.unit.keys.world import DAY_MS, NOW_MS, team
from typer.testing import CliRunner

from isthmus.cli.app import app
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.root_draft import draft, encode_draft
from isthmus.wire.trust_statement import Delegation, SignedStatement


def test_everything_is_shown_when_somebody_is_asked_to_sign_a_delegation(tmp_path: Path) -> None:
    """Who may keep keysets alive, and for how long each time, as much as who signs them."""
    stranger = HybridPrivateKey.generate()
    made = draft(team().contents, signer=team().signer.public, now_ms=NOW_MS)
    changed = replace(
        Delegation.decode(made.delegation.statement),
        version=7,
        renewer=stranger.public,
        max_renewal_ms=60 * DAY_MS,
    )
    path = tmp_path / "draft.json"
    path.write_bytes(encode_draft(replace(made, delegation=SignedStatement(statement=changed.encode()))))
    environment = {"ISTHMUS_CONFIG": str(tmp_path / "none.toml")}
    (tmp_path / "none.toml").write_text("")
    result = CliRunner().invoke(app, ["--output", "json", "root", "show", str(path)], env=environment)
    assert result.exit_code == 0, result.stderr
    shown = json.loads(result.stdout)
    assert shown["delegation_version"] == 7
    assert shown["signer"] == team().signer.key_id.hex()
    assert shown["renewer"] == stranger.key_id.hex()
    assert shown["keyset_life"] == "60d"
