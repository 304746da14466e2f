"""What a keyring holds, as values: no file, no clock, no wrapping."""

from dataclasses import dataclass, field
from typing import Final, NoReturn

from isthmus.envelope.key_material import EncryptionPrivateKey, SigningPrivateKey
from isthmus.keys.public_key import KeyKind, KeyState, PublicKeyRecord

_NOT_PICKLED: Final = "what a keyring holds cannot be pickled or copied; open the keyring in each process"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key pair. The secret is None once it is destroyed."""

    record: PublicKeyRecord
    secret: bytes | None = field(repr=False)
    """32 bytes: the seed of an X-Wing key, or an Ed25519 key."""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse."""
        raise TypeError(_NOT_PICKLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyringContents:
    """Everything that a keyring knows, except the root's private key."""

    namespace: str
    trust_domain: str
    id_key: bytes = field(repr=False)
    """32 bytes: keys operation ids and fingerprints of this namespace. Never rotated."""
    root_public_key: bytes = field(repr=False)
    """Raw Ed25519 key, 32 bytes; its fingerprint is what peers pin."""
    keys: tuple[StoredKey, ...]
    keyset_version: int = 0
    """Version of the keyset that was signed last; 0 before the first one."""
    keyset_hash: bytes = b""
    """SHA-256 of the keyset that was signed last."""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse."""
        raise TypeError(_NOT_PICKLED)

    def in_state(self, kind: KeyKind, state: KeyState) -> tuple[StoredKey, ...]:
        """Return the keys of a kind that are in a state, oldest first."""
        found = (key for key in self.keys if key.record.kind is kind and key.record.state is state)
        return tuple(sorted(found, key=lambda key: key.record.created_at_ms))


def new_key(kind: KeyKind, *, state: KeyState, now_ms: int) -> StoredKey:
    """Make a key pair."""
    if kind is KeyKind.ENCRYPTION:
        encryption = EncryptionPrivateKey.generate()
        key_id, public, secret = encryption.key_id, encryption.public.raw, encryption.seed
    else:
        signing = SigningPrivateKey.generate()
        key_id, public, secret = signing.key_id, signing.public.raw, signing.to_bytes()
    record = PublicKeyRecord(key_id=key_id, kind=kind, state=state, public_key=public, created_at_ms=now_ms)
    return StoredKey(record=record, secret=secret)
