"""Tokens: where they come from, and that nobody sees them."""

import os
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from isthmus.transport.credentials import (
    EnvironmentToken,
    FileToken,
    SigningKeyToken,
    StaticToken,
    call_metadata,
    load_signing_key,
)
from isthmus.transport.errors import ConfigurationError


def write_key(path: Path, key: Ed25519PrivateKey | X25519PrivateKey) -> Path:
    """Write a private key, readable by its owner only."""
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path


def test_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    """As mounted tokens are replaced."""
    path = tmp_path / "token"
    path.write_text("first\n")
    source = FileToken(path)
    assert source.token() == "first"
    replacement = tmp_path / "next"
    replacement.write_text("second\n")
    replacement.replace(path)
    assert source.token() == "second"
    path.unlink()
    with pytest.raises(ConfigurationError, match="cannot read"):
        source.token()


def test_environment_is_read_for_each_call_when_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """And named when it is empty."""
    source = EnvironmentToken("SOME_TOKEN")
    monkeypatch.setenv("SOME_TOKEN", "a.b.c")
    assert call_metadata(source) == (("authorization", "Bearer a.b.c"),)
    monkeypatch.delenv("SOME_TOKEN")
    with pytest.raises(ConfigurationError, match="SOME_TOKEN"):
        source.token()


@pytest.mark.parametrize("token", ["", "two words", "new\nline", "ü", "x" * 9000])
def test_token_is_refused_when_it_is_none(token: str) -> None:
    """Without showing it."""
    with pytest.raises(ConfigurationError) as caught:
        StaticToken(token)
    assert not token or token not in str(caught.value)


def test_token_is_minted_again_when_it_gets_old() -> None:
    """Five minutes of life, renewed a minute before the end, and after a clock was set back."""
    key = Ed25519PrivateKey.generate()
    clock = [1_000_000.5]
    ids = iter("abcdef")
    source = SigningKeyToken(
        key,
        issuer="teams",
        subject="data-team",
        audience="gw",
        now=lambda: clock[0],
        new_id=lambda: next(ids),
    )
    first = source.token()
    claims = jwt.decode(
        first,
        key.public_key(),
        ["EdDSA"],
        audience="gw",
        issuer="teams",
        options={"verify_exp": False, "verify_iat": False},
    )
    expected = {"sub": "data-team", "iat": 1_000_000, "exp": 1_000_300, "jti": "a"}
    assert claims == expected | {"aud": "gw", "iss": "teams"}
    assert jwt.get_unverified_header(first)["typ"] == "JWT"
    clock[0] += 200
    assert source.token() == first
    clock[0] += 50
    second = source.token()
    assert second != first
    clock[0] -= 1000
    assert source.token() != second


def test_secret_stays_hidden_when_sources_are_shown(tmp_path: Path) -> None:
    """In representations."""
    path = tmp_path / "token"
    path.write_text("s3cr3t")
    source = FileToken(path)
    source.token()
    assert "s3cr3t" not in repr(source) + repr(StaticToken("s3cr3t")) + repr(vars(StaticToken))


def test_signing_key_is_refused_when_unsafe_or_wrong(tmp_path: Path) -> None:
    """Readable by everybody, of another kind, no key, not there."""
    key = write_key(tmp_path / "key.pem", Ed25519PrivateKey.generate())
    assert isinstance(load_signing_key(key), Ed25519PrivateKey)
    os.chmod(key, 0o644)  # noqa: PTH101
    with pytest.raises(ConfigurationError, match="chmod"):
        load_signing_key(key)
    with pytest.raises(ConfigurationError, match="no Ed25519 key"):
        load_signing_key(write_key(tmp_path / "x.pem", X25519PrivateKey.generate()))
    garbage = tmp_path / "garbage"
    garbage.write_text("no key")
    garbage.chmod(0o600)
    with pytest.raises(ConfigurationError, match="PEM"):
        load_signing_key(garbage)
    with pytest.raises(ConfigurationError, match="cannot read"):
        load_signing_key(tmp_path / "missing")
