"""A private key of a root or a signer in a file of its own, for whoever holds no keyring."""

from pathlib import Path

from isthmus.keys.errors import KeyFileExistsError, KeyringError
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.keyring_access import KeyringAccess, unlock
from isthmus.keys.keyring_format import (
    KdfParameters,
    KeyFile,
    WrappingKey,
    decode_key,
    encode_key,
    new_salt,
)
from isthmus.keys.private_file import exclusive, read_private, replace_private


def write_key(
    path: Path,
    key: HybridPrivateKey,
    about: KeyFile,
    passphrase: bytes,
    *,
    parameters: KdfParameters | None = None,
) -> None:
    """Write a new file of mode 0600. Raises KeyFileExistsError when there is one already."""
    wrapping = WrappingKey.derive(passphrase, parameters or KdfParameters(salt=new_salt()))
    with exclusive(path):
        require_no_file(path)
        replace_private(path, encode_key(key, about, wrapping))


def require_no_file(path: Path) -> None:
    """Require that nothing would be written over. Raises KeyFileExistsError."""
    if path.exists():
        raise KeyFileExistsError(path)


def read_key(path: Path, passphrase: bytes) -> tuple[KeyFile, HybridPrivateKey]:
    """Return a key and what it is for.

    Raises:
        KeyringError: wrong passphrase, unsafe permissions, damaged. FileNotFoundError: there is no such file.
    """
    data, _ = read_private(path)
    try:
        return decode_key(data, unlock(data, KeyringAccess.by(passphrase)))
    except KeyringError as error:
        raise KeyringError(f"{path}: {error}") from error
