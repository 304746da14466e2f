"""Bearer tokens: where they come from. A token is fetched for each call and never shown."""

import base64
import os
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from isthmus.transport.errors import ConfigurationError

TOKEN_LIFETIME_SECONDS: Final = 300
_RENEW_BEFORE_SECONDS: Final = 60
_MAX_TOKEN_BYTES: Final = 8 * 1024


class TokenSource(Protocol):
    """Gives the bearer token of the next call. Quick, thread-safe, and its ``repr`` hides the token."""

    def token(self) -> str:
        """Return a token that is valid now. Raises ConfigurationError."""
        ...


class StaticToken:
    """One token for the whole life of the process."""

    def __init__(self, token: str) -> None:
        self._token = _checked(token, "the token")

    def token(self) -> str:
        """Return it."""
        return self._token


class EnvironmentToken:
    """The token in an environment variable, read for each call."""

    def __init__(self, variable: str) -> None:
        self._variable = variable

    def token(self) -> str:
        """Return what the variable holds now. Raises ConfigurationError when it is empty."""
        return _checked(os.environ.get(self._variable, ""), f"the environment variable {self._variable}")


class FileToken:
    """The token in a file, read again when the file changes, as mounted service account tokens do."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[tuple[int, int, int], str] | None = None

    def token(self) -> str:
        """Return what the file holds now. Raises ConfigurationError when it cannot be read."""
        try:
            status = self._path.stat()
            identity = (status.st_ino, status.st_mtime_ns, status.st_size)
            seen = self._seen
            if seen is not None and seen[0] == identity:
                return seen[1]
            token = _checked(
                self._path.read_text(encoding="ascii", errors="replace"), f"the file {self._path}"
            )
        except OSError as error:
            raise ConfigurationError(f"cannot read the token file {self._path}: {error.strerror}") from error
        self._seen = (identity, token)
        return token


class SigningKeyToken:
    """Mints short-lived JWTs (EdDSA, five minutes) with a private key of this client. Needs PyJWT.

    Args:
        key: Ed25519 private key; see load_signing_key.
        issuer: ``iss``: the gateway's profile of this issuer knows the public key.
        subject: ``sub``: who this client is.
        audience: ``aud``: the gateway.
        now: Unix seconds.
        new_id: makes each ``jti``.
    """

    def __init__(
        self,
        key: Ed25519PrivateKey,
        *,
        issuer: str,
        subject: str,
        audience: str,
        now: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        try:
            import jwt  # noqa: PLC0415 - an extra: only who mints tokens needs it
        except ImportError as error:
            raise ConfigurationError(
                "minting tokens from a signing key needs PyJWT: pip install pyjwt"
            ) from error
        self._encode = jwt.encode
        self._key = key
        self._claims = {"iss": issuer, "sub": subject, "aud": audience}
        self._now = now
        self._new_id = new_id
        self._minted: tuple[float, str] | None = None

    def token(self) -> str:
        """Return a token that lives for another minute at least."""
        now = self._now()
        minted = self._minted
        # A clock that was set back makes a token from the future, which the gateway refuses: mint again.
        if minted is not None and 0 <= now - minted[0] < TOKEN_LIFETIME_SECONDS - _RENEW_BEFORE_SECONDS:
            return minted[1]
        issued_at = int(now)
        claims = self._claims | {
            "iat": issued_at,
            "exp": issued_at + TOKEN_LIFETIME_SECONDS,
            "jti": self._new_id(),
        }
        token = self._encode(
            claims, self._key, algorithm="EdDSA", headers={"typ": "JWT", "kid": self._key_id()}
        )
        self._minted = (now, token)
        return token

    def _key_id(self) -> str:
        return key_thumbprint(self._key)


def key_thumbprint(key: Ed25519PrivateKey) -> str:
    """Return the ``kid`` of a signing key: its JWK thumbprint (RFC 8037, appendix A.3)."""
    import hashlib  # noqa: PLC0415

    public = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}'
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def refuse_public_file(path: Path) -> None:
    """Refuse a secret that everybody on this machine can read or replace.

    Raises:
        ConfigurationError: everybody can. OSError: there is no such file.
    """
    if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ConfigurationError(f"everybody on this machine can read {path}: chmod o-rwx it")


def load_signing_key(path: Path) -> Ed25519PrivateKey:
    """Read an Ed25519 private key (PEM, PKCS #8).

    Raises:
        ConfigurationError: the file cannot be read, can be read by everybody, or holds no such key.
    """
    try:
        refuse_public_file(path)
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigurationError(f"cannot read the signing key {path}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{path} is no unencrypted PEM private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(
            f"{path} is no Ed25519 key; make one with: openssl genpkey -algorithm ed25519"
        )
    return key


def call_metadata(source: TokenSource | None) -> tuple[tuple[str, str], ...]:
    """Return the metadata of the next call. Raises ConfigurationError."""
    return () if source is None else (("authorization", f"Bearer {source.token()}"),)


def _checked(token: str, where: str) -> str:
    token = token.strip()
    if not token:
        raise ConfigurationError(f"{where} holds no token")
    if len(token) > _MAX_TOKEN_BYTES or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(f"{where} holds something that is no bearer token")
    return token
