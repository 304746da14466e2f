"""What a keyring holds, as values: no file, no clock, no wrapping.

The private keys of root and signer are not among them: they are needed seldom, and elsewhere.
"""

from dataclasses import dataclass, field
from typing import Final, NoReturn

from isthmus.envelope.key_material import EncryptionPrivateKey, SigningPrivateKey
from isthmus.keys.errors import KeyringError
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.wire.public_key import KeyKind, KeyState, PublicKeyRecord
from isthmus.wire.trust_statement import SignedStatement

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
    """Everything that a keyring knows."""

    namespace: str
    trust_domain: str
    id_key: bytes = field(repr=False)
    """32 bytes: keys operation ids and fingerprints of this namespace. Never rotated."""
    roots: tuple[SignedStatement, ...] = ()
    """Consecutive, the newest last: the hash of the newest is the fingerprint that peers pin."""
    delegation: SignedStatement | None = None
    """By the newest root; None until its keys signed one."""
    renewer_secret: bytes | None = field(default=None, repr=False)
    """Hybrid private key, 64 bytes, that keeps the keyset alive; None where something else does."""
    keys: tuple[StoredKey, ...]
    keyset_version: int = 0
    """Version of the keyset that was signed last; 0 before the first one."""
    keyset_hash: bytes = b""
    """SHA-256 of the keyset that was signed last."""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse."""
        raise TypeError(_NOT_PICKLED)

    @property
    def fingerprint(self) -> bytes:
        """What peers pin: the hash of the newest root, 32 bytes. Raises KeyringError: there is none yet."""
        if not self.roots:
            raise KeyringError(f"the root of {self.namespace} is not signed yet: see isthmus root --help")
        return self.roots[-1].hash

    def renewer(self) -> HybridPrivateKey | None:
        """Return the key that keeps the namespace's keyset alive, None where something else does."""
        secret = self.renewer_secret
        return None if secret is None else HybridPrivateKey.from_bytes(secret)

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
