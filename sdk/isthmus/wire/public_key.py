"""A public key of a namespace and how far it is in its life."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum, unique

from isthmus.wire.keyset import encryption_key_id, signing_key_id
from isthmus.wire.names import KeyId


@unique
class KeyKind(IntEnum):
    """What a key is for; the numbers are those of ``isthmus.v1.KeyKind``."""

    ENCRYPTION = 1
    SIGNING = 2


@unique
class KeyState(IntEnum):
    """How far a key is in its life; the numbers are those of ``isthmus.v1.KeyState``."""

    PRE_PUBLISHED = 1
    ACTIVE = 2
    DECRYPT_ONLY = 3
    VERIFY_ONLY = 4
    RETIRED = 5
    DESTROYED = 6
    REVOKED = 7


LIVES: dict[KeyKind, tuple[KeyState, ...]] = {
    KeyKind.ENCRYPTION: (
        KeyState.PRE_PUBLISHED,
        KeyState.ACTIVE,
        KeyState.DECRYPT_ONLY,
        KeyState.DESTROYED,
    ),
    KeyKind.SIGNING: (KeyState.PRE_PUBLISHED, KeyState.ACTIVE, KeyState.VERIFY_ONLY, KeyState.RETIRED),
}
"""The states of each kind, in their order. REVOKED can be reached from any of them."""

KEY_BYTES: dict[KeyKind, int] = {KeyKind.ENCRYPTION: 1216, KeyKind.SIGNING: 32}
"""How long a public key of each kind is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKeyRecord:
    """One public key as a keyset lists it."""

    key_id: KeyId
    kind: KeyKind
    state: KeyState
    public_key: bytes = field(repr=False)
    """Raw: 1216 bytes X-Wing, 32 bytes Ed25519."""
    created_at_ms: int


def key_id_of(kind: KeyKind, public_key: bytes) -> KeyId:
    """Return the id that follows from a full public key."""
    return encryption_key_id(public_key) if kind is KeyKind.ENCRYPTION else signing_key_id(public_key)


def is_earlier(record: PublicKeyRecord, other: PublicKeyRecord) -> bool:
    """Whether a key is in an earlier state of its life than another record of it: no step leads back."""
    return _age(record) < _age(other)


def gone_back(keys: Iterable[PublicKeyRecord], known: Iterable[PublicKeyRecord]) -> tuple[bytes, ...]:
    """Return the ids of keys that are in an earlier state of their life than what is known of them."""
    by_id = {bytes(key.key_id): key for key in known}
    return tuple(
        bytes(key.key_id)
        for key in keys
        if (other := by_id.get(bytes(key.key_id))) is not None and is_earlier(key, other)
    )


def _age(record: PublicKeyRecord) -> int:
    life = LIVES[record.kind]
    # A revoked key may be destroyed later: both are ends.
    return len(life) - 1 if record.state is KeyState.REVOKED else life.index(record.state)
