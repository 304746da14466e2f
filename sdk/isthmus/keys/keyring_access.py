"""What opens a keyring file, whichever way its key is protected, and what protects one."""

from collections.abc import Callable
from dataclasses import dataclass, field

from isthmus.keys.custody.provider import (
    DATA_KEY_BYTES,
    DataKey,
    KeyContext,
    KeyEncryptionProvider,
    OpenProvider,
    WrappedKey,
    new_data_key,
)
from isthmus.keys.errors import CustodyError, KeyringError
from isthmus.keys.keyring_format import KdfParameters, WrappingKey, read_context, read_protection


def _no_provider(wrapped: WrappedKey) -> KeyEncryptionProvider:
    raise KeyringError(
        f"this keyring is in the custody of {wrapped.provider}, no passphrase opens it:"
        " open it by way of a profile, or with KeyringAccess(provider=…)"
    )


def _no_passphrase() -> bytes:
    raise KeyringError("this keyring is protected by a passphrase: pass it, or KeyringAccess(passphrase=…)")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyringAccess:
    """How this process gets at the key of a keyring: only what the file says is asked."""

    passphrase: Callable[[], bytes] = field(default=_no_passphrase, repr=False)
    provider: OpenProvider = field(default=_no_provider, repr=False)
    key_passphrase: Callable[[], bytes] | None = field(default=None, repr=False)
    """Of the files of root and signer, where it is another one than the keyring's."""

    @classmethod
    def by(cls, key: "bytes | KeyEncryptionProvider | KeyringAccess") -> "KeyringAccess":
        """Return the access that a passphrase or a provider gives."""
        if isinstance(key, KeyringAccess):
            return key
        if isinstance(key, bytes):
            return cls(passphrase=lambda: key)

        def named(wrapped: WrappedKey) -> KeyEncryptionProvider:
            if wrapped.provider != key.name:
                raise KeyringError(f"this keyring is in the custody of {wrapped.provider}, not of {key.name}")
            return key

        return cls(provider=named)


def unlock(data: bytes, access: KeyringAccess) -> WrappingKey:
    """Return the key of a keyring or key file; asks a provider once.

    Raises:
        KeyringError: the file is damaged, or this is not what protects it.
        CustodyError: the provider refuses. CustodyUnavailableError: it cannot be asked now.

    """
    protection = read_protection(data)
    if isinstance(protection, KdfParameters):
        return WrappingKey.derive(access.passphrase(), protection)
    data_key = access.provider(protection).unwrap(protection.wrapped, read_context(data))
    if len(data_key.secret) != DATA_KEY_BYTES:
        raise CustodyError(f"{protection.provider} answered with something that is no key of a keyring")
    return WrappingKey(protection=protection, key=data_key.secret)


def take_into_custody(
    provider: KeyEncryptionProvider, context: KeyContext, data_key: DataKey | None = None
) -> WrappingKey:
    """Return a key that the provider wrapped, and was seen to unwrap: a fresh one, unless it is given.

    Raises:
        CustodyError: the provider refuses, or does not give back what it wrapped: nothing may rely on it.
        CustodyUnavailableError: it cannot be asked now.

    """
    data_key = data_key or new_data_key()
    wrapped = provider.wrap(data_key, context)
    if not provider.unwrap(wrapped, context).matches(data_key):
        raise CustodyError(f"{provider.name} gives back another key than the one that it wrapped")
    protection = WrappedKey(
        provider=provider.name, key=provider.key, wrapped=wrapped, keyring_id=context.keyring_id
    )
    return WrappingKey(protection=protection, key=data_key.secret)
