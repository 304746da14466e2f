"""Where a namespace's private keys are, as the rest of the SDK sees it."""

from typing import Protocol

from isthmus.envelope.expected import KnownSigningKey, SigningKeyState
from isthmus.envelope.key_material import (
    EncryptionPrivateKey,
    EncryptionPublicKey,
    SigningPrivateKey,
    SigningPublicKey,
)
from isthmus.keys.contents import KeyringContents
from isthmus.wire.public_key import KeyKind, KeyState, PublicKeyRecord
from isthmus.wire.trust_statement import Keyset

SIGNING_STATES: dict[KeyState, SigningKeyState] = {
    KeyState.PRE_PUBLISHED: SigningKeyState.PRE_PUBLISHED,
    KeyState.ACTIVE: SigningKeyState.ACTIVE,
    KeyState.VERIFY_ONLY: SigningKeyState.VERIFY_ONLY,
    KeyState.RETIRED: SigningKeyState.RETIRED,
    KeyState.REVOKED: SigningKeyState.REVOKED,
}
"""What the envelope calls the states of a signing key."""


class Keyring(Protocol):
    """The keys of one's own namespace. Also a ``Decrypter``."""

    @property
    def namespace(self) -> str:
        """Whose keys these are."""
        ...

    @property
    def trust_domain(self) -> str:
        """The deployment that the namespace belongs to."""
        ...

    @property
    def contents(self) -> KeyringContents:
        """Everything that the keyring knows, as it was read last. Contains secrets."""
        ...

    @property
    def id_key(self) -> bytes:
        """The secret that keys operation ids and fingerprints, 32 bytes."""
        ...

    def signing_key(self) -> SigningPrivateKey:
        """Return the active signing key. Raises KeyringError when there is none."""
        ...

    def sealing_key(self) -> EncryptionPublicKey:
        """Return one's own active encryption key. Raises KeyringError when there is none."""
        ...

    def decryption_key(self, key_id: bytes) -> EncryptionPrivateKey | None:
        """Return an encryption key; an unknown id makes the keyring re-read its source.

        Raises:
            KeyUnavailableError: permanent, when the key was destroyed.

        """
        ...

    def public_keys(self) -> tuple[PublicKeyRecord, ...]:
        """Return all public keys with their states."""
        ...

    def own_keys(self) -> "OwnKeys":
        """Return the signing keys of one's own namespace, to verify what it signed itself."""
        ...

    def refresh(self) -> bool:
        """Re-read the source when it changed. Returns whether it did."""
        ...

    def follow(self, published: Keyset) -> None:
        """Use the keys that the namespace's newest keyset says are in use, unless the source is newer.

        The keyset is verified, and what was followed before is never undone by an older one.
        """
        ...


class OwnKeys:
    """One's own signing keys, from one's own keyring: no root needs to vouch for them. ``VerifiedKeys``."""

    __slots__ = ("_keys", "_namespace", "_trust_domain")

    def __init__(
        self, *, namespace: str, trust_domain: str, public_keys: tuple[PublicKeyRecord, ...]
    ) -> None:
        self._namespace = namespace
        self._trust_domain = trust_domain
        self._keys = {
            record.key_id: KnownSigningKey(
                key=SigningPublicKey(record.public_key), state=SIGNING_STATES[record.state]
            )
            for record in public_keys
            if record.kind is KeyKind.SIGNING
        }

    @property
    def namespace(self) -> str:
        """Whose keys these are."""
        return self._namespace

    @property
    def trust_domain(self) -> str:
        """The deployment that they are valid in."""
        return self._trust_domain

    def is_current(self, now_ms: int) -> bool:
        """Tell that one's own keyring does not expire."""
        del now_ms
        return True

    def find_signing_key(self, key_id: bytes) -> KnownSigningKey | None:
        """Return the key of this id in whatever state, or None."""
        return self._keys.get(key_id)  # type: ignore[call-overload,no-any-return]
