"""The gateway's own issuer, for development on one machine."""

from datetime import datetime, timedelta
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from isthmus.gateway.authn.jwt_issuer import JwtIssuer
from isthmus.gateway.authn.subjects import DevelopmentSubjects
from isthmus.gateway.authn.verification_keys import SingleKey
from isthmus.gateway.key_file import load_or_create_key

ISSUER = "isthmus-development"
AUDIENCE = "isthmus"
DEFAULT_LIFETIME = timedelta(minutes=10)
MAX_LIFETIME = timedelta(hours=12)
DEVELOPMENT_KEY_FILE = "development-issuer-key.pem"
_LEEWAY = timedelta(seconds=30)


class DevelopmentIssuer:
    """Signs tokens for whoever can read its key: never beyond loopback, the configuration checks that."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key

    @classmethod
    def load_or_create(cls, data_dir: Path) -> "DevelopmentIssuer":
        """Use the key in the data directory; make it (mode 0600) at the first start.

        Raises:
            ConfigurationError: others may read the key, or it is no Ed25519 key.
        """
        return cls(load_or_create_key(data_dir / DEVELOPMENT_KEY_FILE))

    def mint(
        self, *, namespace: str, subject: str, now: datetime, lifetime: timedelta = DEFAULT_LIFETIME
    ) -> str:
        """Return a token for a subject of a namespace; those of the namespace ``platform`` administer."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": f"{namespace}/{subject}",
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
        }
        return jwt.encode(claims, self._private_key, algorithm="EdDSA")

    def profile(self) -> JwtIssuer:
        """Return what the gateway believes of this issuer."""
        return JwtIssuer(
            issuer=ISSUER,
            algorithm="EdDSA",
            audience=AUDIENCE,
            types=frozenset({"JWT"}),
            max_lifetime=MAX_LIFETIME,
            leeway=_LEEWAY,
            keys=SingleKey(self._private_key.public_key()),
            subjects=DevelopmentSubjects(),
        )
