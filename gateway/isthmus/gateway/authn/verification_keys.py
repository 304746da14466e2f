"""The public keys of an issuer, read from a file and read again when the file changes.

A key that was removed from the file stops working within a second. Keys are local files only: fetching a JWKS
from a URL is for a process beside the gateway.
"""

import json
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from isthmus.gateway.core.errors import ConfigurationError

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_MIN_RSA_BITS = 2048
_RECHECK = timedelta(seconds=1)
_LOG = logging.getLogger(__name__)


class VerificationKeys(Protocol):
    """Keys by key id. ``generation`` changes whenever a key comes or goes."""

    @property
    def generation(self) -> int:
        """Number of the set of keys in use."""
        ...

    def refresh(self, now: datetime) -> None:
        """Look whether the keys changed; does so at most once a second."""
        ...

    def find(self, key_id: str | None) -> PublicKey | None:
        """Return the key that a token names."""
        ...


class SingleKey:
    """One key that never changes; a token need not name it."""

    generation = 0

    def __init__(self, key: PublicKey) -> None:
        self._key = key

    def refresh(self, now: datetime) -> None:
        """Nothing changes."""

    def find(self, key_id: str | None) -> PublicKey | None:
        """Return the key, whatever the token calls it."""
        del key_id
        return self._key


class KeyFile:
    """The keys of a PEM file (one public key) or of a JWKS file (any number, each with its ``kid``).

    Raises:
        ConfigurationError: at construction, when the file cannot be used. A file that breaks later is logged,
            and the keys that were known stay.
    """

    def __init__(self, path: Path, *, algorithm: str, jwks: bool) -> None:
        self._path = path
        self._algorithm = algorithm
        self._jwks = jwks
        self._checked_at: datetime | None = None
        self._seen = self._fingerprint()
        self._keys = self._load()
        self.generation = 0

    def refresh(self, now: datetime) -> None:
        """Read the file again if it changed since; looks at most once a second."""
        if self._checked_at is not None and abs(now - self._checked_at) < _RECHECK:
            return
        self._checked_at = now
        try:
            seen = self._fingerprint()
            if seen == self._seen:
                return
            self._seen = seen
            self._keys = self._load()
        except ConfigurationError as error:
            _LOG.error("keys not reloaded, the old ones stay", extra={"reason": error.message})
            return
        self.generation += 1
        _LOG.info("keys reloaded", extra={"file": str(self._path), "keys": len(self._keys)})

    def find(self, key_id: str | None) -> PublicKey | None:
        """Return the key that a token names; the key of a PEM file has no name."""
        return self._keys.get(key_id if self._jwks else None)

    def _fingerprint(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except OSError as error:
            raise ConfigurationError(f"{self._path} cannot be read: {error.strerror}") from None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _load(self) -> Mapping[str | None, PublicKey]:
        try:
            data = self._path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{self._path} cannot be read: {error.strerror}") from None
        try:
            return read_jwks(data, self._algorithm) if self._jwks else {None: read_pem(data, self._algorithm)}
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._path}: {error.message}") from None


def read_pem(data: bytes, algorithm: str) -> PublicKey:
    """Read one public key. Raises ConfigurationError."""
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError("there is no public key in PEM form") from None
    return check_key(key, algorithm)


def read_jwks(data: bytes, algorithm: str) -> Mapping[str | None, PublicKey]:
    """Read the signature keys of a JWKS (RFC 7517) by their ``kid``. Raises ConfigurationError."""
    try:
        document = json.loads(data)
        entries = document["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ConfigurationError("it is no JWKS") from None
    keys: dict[str | None, PublicKey] = {}
    for entry in entries if isinstance(entries, list) else ():
        if not _verifies(entry, algorithm):
            continue
        key_id = entry.get("kid")
        if not isinstance(key_id, str) or not key_id or key_id in keys:
            raise ConfigurationError("a key has no kid of its own")
        if "d" in entry or "k" in entry:
            raise ConfigurationError(f"the key {key_id!r} is a private or shared one")
        try:
            key = jwt.PyJWK(entry, algorithm).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            raise ConfigurationError(f"the key {key_id!r} cannot be read") from None
        keys[key_id] = check_key(key, algorithm)
    if not keys:
        raise ConfigurationError(f"it holds no signature key for {algorithm}")
    return keys


def check_key(key: object, algorithm: str) -> PublicKey:
    """Return the key if it fits the algorithm. Raises ConfigurationError."""
    match key:
        case ed25519.Ed25519PublicKey() if algorithm == "EdDSA":
            return key
        case ec.EllipticCurvePublicKey() if key.curve.name == _CURVES.get(algorithm):
            return key
        case rsa.RSAPublicKey() if algorithm in _RSA and key.key_size >= _MIN_RSA_BITS:
            return key
        case _:
            raise ConfigurationError(f"the key is not one for {algorithm}")


def _verifies(entry: Any, algorithm: str) -> bool:  # noqa: ANN401 - anything that JSON can say
    """Whether an entry of a JWKS says that it verifies signatures of this algorithm, or does not say."""
    return (
        isinstance(entry, dict)
        and entry.get("use", "sig") == "sig"
        and entry.get("alg", algorithm) == algorithm
        and "verify" in entry.get("key_ops", ("verify",))
    )
