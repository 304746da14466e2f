"""Ed25519 private keys of the gateway itself, each in a file of its own that nobody else may read."""

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from isthmus.gateway.core.errors import ConfigurationError
from isthmus.gateway.durable_file import sync_directory

_OWNER_ONLY = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def is_private(path: Path) -> bool:
    """Whether nobody but its owner may touch a file that exists."""
    return not path.stat().st_mode & _OTHERS


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key (PEM, PKCS 8), or make it at the first start.

    It is written aside and linked into place: a crash leaves either no key or a whole one, and of two
    processes that start at once both end up with the same.

    Raises:
        ConfigurationError: others may read the file, or it holds no Ed25519 key.
    """
    if not path.exists():
        _create(path)
    return read_key(path)


def read_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key that is there.

    Raises:
        ConfigurationError: others may read the file, or it holds no Ed25519 key.
    """
    if not is_private(path):
        raise ConfigurationError(
            f"{path} is open to others than its owner",
            reason="KEY_FILE_NOT_PRIVATE",
            fix=f"Run: chmod 600 {path}. If others could read it, replace the key.",
        )
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(
            f"{path} holds no Ed25519 private key", reason="KEY_FILE", fix="Restore it from a backup."
        )
    return key


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(aside, path)
    except FileExistsError:
        pass  # somebody else was first: theirs is the key
    finally:
        aside.unlink()
    sync_directory(path.parent)
