"""The promise of whoever wraps the key of a keyring: a key management service, or a hardware module.

A keyring in such custody is encrypted under a data key of its own, 32 random bytes. The file keeps that key
as the provider wrapped it, and says which provider it was, with which of its keys. A process has it unwrapped
once, when it opens the keyring; the private keys of the namespace never reach the provider.

Providers are trusted to keep the data key to themselves, and with nothing else: what they return is
believed only if the whole keyring verifies under it (see ``keyring_format``).
"""

import base64
import binascii
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn, Protocol

from isthmus.keys.errors import CustodyError
from isthmus.wire.pae import pae

DATA_KEY_BYTES: Final = 32
KEYRING_ID_BYTES: Final = 16
MAX_WRAPPED_CHARS: Final = 16 * 1024
_CONTEXT: Final = "isthmus/custody"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyContext:
    """Which keyring a data key is of. Not secret; bound to what is wrapped wherever a provider can."""

    trust_domain: str
    namespace: str
    keyring_id: bytes
    """16 random bytes, made with the keyring or when it came into custody."""

    @property
    def bound(self) -> bytes:
        """The context as additional authenticated data, unambiguous."""
        return pae(_CONTEXT, self.trust_domain, self.namespace, self.keyring_id)


@dataclass(frozen=True, slots=True, eq=False)
class DataKey:
    """The key that a keyring is encrypted with. It shows nothing, wherever it is printed."""

    secret: bytes = field(repr=False)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse."""
        raise TypeError("the key of a keyring cannot be pickled or copied")

    def matches(self, other: "DataKey") -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.secret, other.secret)


def new_data_key() -> DataKey:
    """Return a fresh one."""
    return DataKey(os.urandom(DATA_KEY_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A data key as a keyring file keeps it. Not secret."""

    provider: str
    """The name of the provider, such as ``openbao``."""
    key: str
    """Which of the provider's keys wrapped it, in the provider's own notation."""
    wrapped: str
    """What the provider returned: printable ASCII, of any form."""
    keyring_id: bytes


def new_keyring_id() -> bytes:
    """Return the id of a keyring that comes into custody."""
    return os.urandom(KEYRING_ID_BYTES)


class KeyEncryptionProvider(Protocol):
    """Wraps and unwraps data keys with one key that never leaves the provider.

    An implementation raises where neither its credential nor a data key is in a local variable, and with no
    context: what fails at start is printed by tools that show the variables of every frame.
    """

    @property
    def name(self) -> str:
        """What the file calls the provider."""
        ...

    @property
    def key(self) -> str:
        """Which of its keys it is; after the first ``wrap``, in the notation that never means another one."""
        ...

    def wrap(self, data_key: DataKey, context: KeyContext) -> str:
        """Return the data key wrapped under the newest version of the key.

        Raises:
            CustodyError: the provider refuses. CustodyUnavailableError: it cannot be asked now.

        """
        ...

    def unwrap(self, wrapped: str, context: KeyContext) -> DataKey:
        """Return the data key.

        Raises:
            CustodyError: the provider refuses, or what it was given is not of this key and context.
            CustodyUnavailableError: it cannot be asked now.

        """
        ...


OpenProvider = Callable[[WrappedKey], KeyEncryptionProvider]
"""Returns the provider that a keyring file names, as this process is to reach it. Raises CustodyError."""


def wrapped_bytes(wrapped: str) -> bytes:
    """Return what a provider wrapped, of the base64 that the file has. Raises CustodyError."""
    try:
        return base64.b64decode(wrapped, validate=True)
    except binascii.Error:
        raise CustodyError("the wrapped key of the keyring is damaged") from None
