"""Keys of issuers in files."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from isthmus.gateway.authn.verification_keys import KeyFile, PublicKey, read_jwks, read_pem
from isthmus.gateway.core.errors import ConfigurationError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OKP = {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


def pem(key: PublicKey) -> bytes:
    """Return a public key as PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def jwks(*changes: dict[str, Any]) -> bytes:
    """Return a JWKS with one key for each change."""
    keys = [{k: v for k, v in {**OKP, **change}.items() if v is not None} for change in changes]
    return json.dumps({"keys": keys}).encode()


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ed25519.Ed25519PrivateKey.generate().public_key(), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()).public_key(), "ES256"),
        (ec.generate_private_key(ec.SECP256R1()).public_key(), "EdDSA"),
        (rsa.generate_private_key(65537, 1024).public_key(), "RS256"),  # noqa: S505 - refused, that is the point
    ],
    ids=["ed25519_for_es256", "p384_for_es256", "p256_for_eddsa", "rsa_1024"],
)
def test_key_is_refused_when_it_does_not_fit_the_algorithm(key: PublicKey, algorithm: str) -> None:
    """The algorithm names the kind of key, its curve and its least size."""
    with pytest.raises(ConfigurationError):
        read_pem(pem(key), algorithm)


def test_private_key_is_refused_when_given_as_public_one() -> None:
    """A private key has no business on the gateway."""
    private = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ConfigurationError):
        read_pem(private, "EdDSA")


@pytest.mark.parametrize(
    "data",
    [
        jwks(),
        jwks({"kid": None}),
        jwks({}, {}),
        jwks({"d": "AAAA"}),
        jwks({"kty": "oct", "k": "AAAA"}),
        jwks({"use": "enc"}),
        jwks({"alg": "RS256"}),
        jwks({"key_ops": ["encrypt"]}),
        jwks({"x": "AAAA"}),
        b"{}",
        b"[]",
        b"no json",
    ],
)
def test_jwks_is_refused_when_it_holds_no_proper_signature_key(data: bytes) -> None:
    """Without a kid of its own, private, shared, for another use or unreadable: refused, never guessed."""
    with pytest.raises(ConfigurationError):
        read_jwks(data, "EdDSA")


def test_keys_stay_when_the_file_breaks(tmp_path: Path) -> None:
    """A broken file is an operator's slip: it locks nobody out, and changes nothing."""
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks({}))
    keys = KeyFile(file, algorithm="EdDSA", jwks=True)
    file.write_bytes(b"oops")
    keys.refresh(NOW)
    assert keys.find("a") is not None
    assert keys.generation == 0
    file.write_bytes(jwks({}, {"kid": "b"}))
    keys.refresh(NOW + timedelta(seconds=2))
    assert keys.find("b") is not None
    assert keys.generation == 1


def test_file_is_looked_at_once_a_second_when_tokens_flood_in(tmp_path: Path) -> None:
    """Within a second the file system is left alone."""
    file = tmp_path / "key.pem"
    file.write_bytes(pem(ed25519.Ed25519PrivateKey.generate().public_key()))
    keys = KeyFile(file, algorithm="EdDSA", jwks=False)
    keys.refresh(NOW)
    file.write_bytes(pem(ed25519.Ed25519PrivateKey.generate().public_key()) + b"\n")
    keys.refresh(NOW + timedelta(milliseconds=900))
    assert keys.generation == 0
    keys.refresh(NOW + timedelta(milliseconds=1100))
    assert keys.generation == 1
