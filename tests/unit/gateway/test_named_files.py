"""The files that a configuration names are looked at before a gateway starts."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from isthmus.gateway.config.settings import DEVELOPMENT, GatewayConfig, IssuerSettings, ListenSettings
from isthmus.gateway.named_files import file_problems
from isthmus.gateway.statement_key import StatementKey

NOW = datetime(2030, 5, 17, 12, 0, tzinfo=UTC)


def write_key(path: Path) -> EllipticCurvePrivateKey:
    """Write a TLS key."""
    key = generate_private_key(SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return key


def write_certificate(path: Path, key: EllipticCurvePrivateKey, *, until: datetime) -> None:
    """Write a certificate of a key that signs itself."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway.example")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - timedelta(days=30))
        .not_valid_after(until)
        .sign(key, SHA256())
    )
    path.write_bytes(certificate.public_bytes(Encoding.PEM))


@pytest.fixture
def config(tmp_path: Path) -> GatewayConfig:
    """A configuration whose files are all right."""
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    write_certificate(certificate, write_key(key), until=NOW + timedelta(days=1))
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    StatementKey.load_or_create(data)
    return GatewayConfig(
        trust_domain="example.com",
        data_dir=data,
        listen=ListenSettings(tls_certificate_file=certificate, tls_key_file=key),
        issuers=(IssuerSettings(kind=DEVELOPMENT),),
    )


def found(config: GatewayConfig) -> str:
    """Return the problems, as an operator reads them; nothing may have been written."""
    before = sorted(config.data_dir.iterdir()) if config.data_dir.is_dir() else None
    problems = list(file_problems(config, NOW))
    assert all(problem.fix for problem in problems)
    assert (sorted(config.data_dir.iterdir()) if config.data_dir.is_dir() else None) == before
    return "\n".join(map(str, problems))


def test_nothing_is_found_when_the_files_are_right(config: GatewayConfig, tmp_path: Path) -> None:
    """Nor at the very first start, when the data directory is not there."""
    assert not found(config)
    assert not found(replace(config, data_dir=tmp_path / "new" / "data"))
    assert not (tmp_path / "new").exists()


def test_certificate_is_named_when_it_is_of_another_key(config: GatewayConfig, tmp_path: Path) -> None:
    """The pair was mixed up."""
    write_key(tmp_path / "tls.key")
    assert "is not the key of the first certificate" in found(config)


def test_certificate_is_named_when_it_has_expired(config: GatewayConfig, tmp_path: Path) -> None:
    """The gateway would start, and nobody would come."""
    key = write_key(tmp_path / "tls.key")
    write_certificate(tmp_path / "tls.crt", key, until=NOW - timedelta(minutes=1))
    assert "to 2030-05-17 11:59 UTC, which is not now. Renew the certificate" in found(config)


@pytest.mark.parametrize(("name", "wanted"), [("tls.crt", "certificate chain"), ("tls.key", "private key")])
def test_tls_file_is_named_when_it_holds_something_else(
    config: GatewayConfig, tmp_path: Path, name: str, wanted: str
) -> None:
    """Each file by its option, with what belongs there."""
    (tmp_path / name).write_text("nothing of that kind")
    assert f"{name} cannot be used: it holds no PEM {wanted}" in found(config)


def test_own_key_is_named_when_it_is_open_to_others_or_broken(config: GatewayConfig) -> None:
    """The key of statements is read as the gateway reads it, and never made."""
    key = config.data_dir / "statement-key.pem"
    key.chmod(0o644)
    assert f"data_dir: {key} is open to others" in found(config)
    key.chmod(0o600)
    key.write_text("broken")
    assert f"data_dir: {key} holds no Ed25519 private key. Restore it from a backup." in found(config)


def test_database_is_named_when_it_cannot_be_used(config: GatewayConfig, tmp_path: Path) -> None:
    """Its folder is missing, it is a folder itself, or others may read it."""
    assert "is no directory" in found(replace(config, database=tmp_path / "missing" / "isthmus.db"))
    assert "is a directory. Name a file in it." in found(replace(config, database=config.data_dir))
    config.database_file.touch(mode=0o644)
    assert f"Run: chmod 600 {config.database_file}" in found(config)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_data_dir_is_named_when_it_cannot_be_written(config: GatewayConfig) -> None:
    """The user that checks is the one that runs the gateway."""
    config.data_dir.chmod(0o500)
    assert "nothing can be written in" in found(config)
