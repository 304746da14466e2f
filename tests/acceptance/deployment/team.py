"""A team on disk: its keyring, its pins, and the key that signs its tokens."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.keyring_format import KdfParameters, new_salt
from isthmus.keys.trust import TrustStore
from isthmus.transport.credentials import SigningKeyToken, load_signing_key

TRUST_DOMAIN = "deployment.test"
AUDIENCE = "isthmus"
PLATFORM = "platform"
PASSPHRASE = "no secret: it protects keys that live as long as a test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """One namespace, with everything that its processes need in a folder."""

    namespace: str
    folder: Path

    @property
    def signing_key_file(self) -> Path:
        """The private key that signs its tokens."""
        return self.folder / "token-key.pem"

    @property
    def public_key_file(self) -> Path:
        """What the gateway verifies its tokens with."""
        return self.folder / "token-key.pub"

    @property
    def keyring_file(self) -> Path:
        """Its keyring."""
        return self.folder / "keyring.json"

    @property
    def trust_file(self) -> Path:
        """Its pins."""
        return self.folder / "trust.json"

    def open_keyring(self) -> FileKeyring:
        """Open the keyring."""
        return FileKeyring(self.keyring_file, PASSPHRASE.encode())

    def pin(self, other: "Team", *endpoints: str) -> None:
        """Trust another team's root, and that these endpoints are its."""
        fingerprint = other.open_keyring().contents.fingerprint
        TrustStore(self.trust_file, trust_domain=TRUST_DOMAIN).add(
            other.namespace, fingerprint, endpoints=endpoints
        )

    def tokens(self) -> SigningKeyToken:
        """Return a source of its tokens."""
        return SigningKeyToken(
            load_signing_key(self.signing_key_file),
            issuer=self.namespace,
            subject=self.namespace,
            audience=AUDIENCE,
        )

    def environment(self, address: str) -> dict[str, str]:
        """Return the settings of its processes."""
        return {
            "ISTHMUS_ADDRESS": address,
            "ISTHMUS_NAMESPACE": self.namespace,
            "ISTHMUS_KEYRING": str(self.keyring_file),
            "ISTHMUS_PASSPHRASE": PASSPHRASE,
            "ISTHMUS_TRUST_STORE": str(self.trust_file),
            "ISTHMUS_SIGNING_KEY_FILE": str(self.signing_key_file),
            "ISTHMUS_ISSUER": self.namespace,
            "ISTHMUS_SUBJECT": self.namespace,
            "ISTHMUS_AUDIENCE": AUDIENCE,
            "ISTHMUS_CONFIG": os.devnull,
        }


def create_team(parent: Path, namespace: str) -> Team:
    """Make a team's folder with a keyring that opens quickly and a key for tokens; it trusts nobody yet."""
    team = Team(namespace=namespace, folder=parent / namespace)
    team.folder.mkdir(mode=0o700)
    key = Ed25519PrivateKey.generate()
    team.signing_key_file.touch(mode=0o600)
    team.signing_key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    team.public_key_file.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    team.public_key_file.chmod(0o644)
    FileKeyring.create(
        team.keyring_file,
        PASSPHRASE.encode(),
        namespace=namespace,
        trust_domain=TRUST_DOMAIN,
        now_ms=time.time_ns() // 1_000_000,
        parameters=KdfParameters(salt=new_salt(), memory_kib=64, iterations=1, lanes=1),
    )
    return team
