"""Makes tokens: good ones, and every bad one that a library would let somebody make by accident or malice."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from isthmus.gateway.authn.authenticator import Authenticator
from isthmus.gateway.authn.jwt_issuer import JwtIssuer
from isthmus.gateway.authn.subjects import ConfiguredSubjects
from isthmus.gateway.authn.verification_keys import SingleKey, VerificationKeys
from isthmus.gateway.config.settings import SubjectRule

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ISSUER = "https://issuer.example"
AUDIENCE = "isthmus"


def b64(data: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def header(**changes: Any) -> dict[str, Any]:
    """Return a good header with changes; None removes a name."""
    good = {"alg": "EdDSA", "typ": "JWT"}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def claims(**changes: Any) -> dict[str, Any]:
    """Return good claims with changes; None removes a name."""
    issued = int(NOW.timestamp())
    good = {"iss": ISSUER, "sub": "ci-main", "aud": AUDIENCE, "iat": issued, "exp": issued + 300}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


@dataclass
class ManualClock:
    """A clock that tests set."""

    time: datetime = NOW

    def now(self) -> datetime:
        """Return the time."""
        return self.time


@dataclass
class Forge:
    """An issuer with its key, and a gateway that believes it."""

    key: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)
    clock: ManualClock = field(default_factory=ManualClock)

    def sign(self, header_: object, claims_: object, key: ed25519.Ed25519PrivateKey | None = None) -> str:
        """Sign a header and claims, given as values or as exact JSON."""
        parts = [item if isinstance(item, str) else json.dumps(item) for item in (header_, claims_)]
        text = ".".join(b64(part.encode()) for part in parts)
        return f"{text}.{b64((key or self.key).sign(text.encode()))}"

    def good(self, **changes: Any) -> str:
        """Return a token that is good but for changes of its claims."""
        return self.sign(header(), claims(**changes))

    def hmac(self, secret: bytes) -> str:
        """Return a token that is signed with HS256."""
        text = ".".join(b64(json.dumps(part).encode()) for part in (header(alg="HS256"), claims()))
        return f"{text}.{b64(hmac.digest(secret, text.encode(), hashlib.sha256))}"

    @property
    def public_raw(self) -> bytes:
        """The public key, raw."""
        return self.key.public_key().public_bytes_raw()

    @property
    def public_pem(self) -> bytes:
        """The public key as PEM."""
        return self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def issuer(self, keys: VerificationKeys | None = None) -> JwtIssuer:
        """Return what the gateway believes of this issuer."""
        return JwtIssuer(
            issuer=ISSUER,
            algorithm="EdDSA",
            audience=AUDIENCE,
            types=frozenset({"JWT"}),
            max_lifetime=timedelta(minutes=10),
            leeway=timedelta(seconds=30),
            keys=keys or SingleKey(self.key.public_key()),
            subjects=ConfiguredSubjects(
                [
                    SubjectRule(subject="ci-*", namespace="data-team"),
                    SubjectRule(subject="root", namespace="ops", platform=True),
                ]
            ),
        )

    def authenticator(self, keys: VerificationKeys | None = None) -> Authenticator:
        """Return a gateway's authenticator that believes this issuer only."""
        return Authenticator([self.issuer(keys)], self.clock)


def bearer(token: str) -> list[tuple[str, str | bytes]]:
    """Return the metadata of a token."""
    return [("user-agent", "test"), ("authorization", f"Bearer {token}")]
