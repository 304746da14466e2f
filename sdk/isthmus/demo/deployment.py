"""A directory with all that a gateway and two teams need on one machine.

``isthmus dev`` and ``isthmus demo`` write it. For one machine only: credentials and keyrings of both teams
lie beside each other, which is exactly what Isthmus is there to avoid. The layout::

    isthmus.toml            the gateway's configuration; it listens on loopback
    gateway/                its database and keys
    profiles.toml           profiles platform, data-team and app-team
    <team>/credential.pem   a signing key, from which clients mint short-lived tokens
    <team>/credential.pub   its public half, which the gateway knows
    <team>/keyring.json     the team's private keys, under
    <team>/passphrase
    <team>/trust.json       whom the team trusts
"""

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.private_file import replace_private
from isthmus.keys.trust import TrustStore
from isthmus.wire.names import DEVELOPMENT_TRUST_DOMAIN

TRUST_DOMAIN: Final = DEVELOPMENT_TRUST_DOMAIN
PLATFORM: Final = "platform"
DATA_TEAM: Final = "data-team"
APP_TEAM: Final = "app-team"
TEAMS: Final = (DATA_TEAM, APP_TEAM)
AUDIENCE: Final = "isthmus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Where everything is."""

    directory: Path
    port: int

    @property
    def address(self) -> str:
        """Where the gateway listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def gateway_config(self) -> Path:
        """The gateway's configuration."""
        return self.directory / "isthmus.toml"

    @property
    def database(self) -> Path:
        """The gateway's SQLite file."""
        return self.directory / "gateway" / "isthmus.db"

    @property
    def profiles(self) -> Path:
        """The profiles of everybody here."""
        return self.directory / "profiles.toml"

    def team(self, name: str) -> Path:
        """The directory of a team."""
        return self.directory / name

    def keyring(self, team: str) -> FileKeyring:
        """Open the keyring of a team."""
        passphrase = (self.team(team) / "passphrase").read_bytes().strip()
        return FileKeyring(self.team(team) / "keyring.json", passphrase)

    def trust(self, team: str) -> TrustStore:
        """Open the trust store of a team."""
        return TrustStore(self.team(team) / "trust.json", trust_domain=TRUST_DOMAIN)


def write_deployment(directory: Path, *, port: int, lease_seconds: int) -> Deployment:
    """Write what is missing, and keep the keys that are there: safe to repeat.

    Raises:
        OSError: the directory cannot be written. KeyringError: a file in it is damaged or unsafe.
    """
    deployment = Deployment(directory=directory.resolve(), port=port)
    for folder in (deployment.directory, deployment.directory / "gateway"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (PLATFORM, *TEAMS):
        deployment.team(name).mkdir(mode=0o700, exist_ok=True)
        _write_credential(deployment.team(name))
    for name in TEAMS:
        _write_keyring(deployment.team(name), name)
    # Keys that lie in somebody's working copy must not end up in a commit.
    (deployment.directory / ".gitignore").write_text("*\n", encoding="utf-8")
    deployment.gateway_config.write_text(_gateway_config(deployment, lease_seconds), encoding="utf-8")
    deployment.profiles.write_text(_profiles(deployment), encoding="utf-8")
    # Where the umask lets a group write, the file would be refused as one that others can change.
    deployment.profiles.chmod(0o600)
    return deployment


def _write_credential(folder: Path) -> None:
    if (folder / "credential.pub").exists():
        return
    key = Ed25519PrivateKey.generate()
    replace_private(
        folder / "credential.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    # Last: it says that the pair is complete.
    replace_private(
        folder / "credential.pub",
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


def _write_keyring(folder: Path, namespace: str) -> None:
    if (folder / "keyring.json").exists():
        return
    passphrase = secrets.token_urlsafe(24).encode()
    replace_private(folder / "passphrase", passphrase + b"\n")
    FileKeyring.create(
        folder / "keyring.json",
        passphrase,
        namespace=namespace,
        trust_domain=TRUST_DOMAIN,
        now_ms=time.time_ns() // 1_000_000,
    )


def _gateway_config(deployment: Deployment, lease_seconds: int) -> str:
    lines = [
        f"trust_domain = {_text(TRUST_DOMAIN)}",
        f"data_dir = {_text(deployment.directory / 'gateway')}",
        f"lease_seconds = {lease_seconds}",
        "drain_seconds = 5",
        "",
        "[listen]",
        f"address = {_text(deployment.address)}",
    ]
    for name in (PLATFORM, *TEAMS):
        lines += [
            "",
            "[[issuers]]",
            f"issuer = {_text(name)}",
            'algorithm = "EdDSA"',
            f"audience = {_text(AUDIENCE)}",
            f"key_file = {_text(deployment.team(name) / 'credential.pub')}",
        ]
        if name == PLATFORM:
            lines += [
                "",
                "[[issuers.subjects]]",
                'subject = "operator"',
                f"namespace = {_text(PLATFORM)}",
                "platform = true",
            ]
        else:
            lines.append(f"namespace = {_text(name)}")
    return "\n".join(lines) + "\n"


def _profiles(deployment: Deployment) -> str:
    lines = [f"current = {_text(DATA_TEAM)}"]
    for name in (*TEAMS, PLATFORM):
        lines += [
            "",
            f"[profiles.{name}]",
            f"address = {_text(deployment.address)}",
            f"namespace = {_text(name)}",
            f"signing_key_file = {_text(f'{name}/credential.pem')}",
            f"issuer = {_text(name)}",
            f"subject = {_text('operator' if name == PLATFORM else 'developer')}",
            f"audience = {_text(AUDIENCE)}",
        ]
        if name != PLATFORM:
            lines += [
                f"keyring = {_text(f'{name}/keyring.json')}",
                f"passphrase_file = {_text(f'{name}/passphrase')}",
                f"trust_store = {_text(f'{name}/trust.json')}",
                "# New keys are noticed at once: who develops has no time to wait.",
                "key_cache_seconds = 30",
                "# Believe the gateway about teams and endpoints that nobody pinned. For development only.",
                "trust_on_first_use = true",
            ]
    return "\n".join(lines) + "\n"


def _text(value: object) -> str:
    # A JSON string is a TOML basic string too, as long as nothing is escaped into surrogates.
    return json.dumps(str(value), ensure_ascii=False)
