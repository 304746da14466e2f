"""Two teams with real keys, in memory: the data team calls, the payments team serves."""

from dataclasses import dataclass, replace
from pathlib import Path

from isthmus.envelope.key_material import EncryptionPrivateKey, EncryptionPublicKey, SigningPrivateKey
from isthmus.envelope.seal import RecipientKey
from isthmus.keys.contents import KeyringContents, StoredKey, new_key
from isthmus.keys.founding import found
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.keyring import OwnKeys
from isthmus.keys.statements import next_keyset, sign_keyset
from isthmus.keys.trust import TrustStore
from isthmus.wire.public_key import KeyKind, KeyState, PublicKeyRecord
from isthmus.wire.trust_statement import Keyset, SignedKeyset

TRUST_DOMAIN = "acme"
ENDPOINT = "payments"
NOW_MS = 1_790_000_000_000


@dataclass(slots=True)
class Team:
    """A namespace with its keys: a keyring in memory, whose signer is at hand."""

    contents: KeyringContents
    signer: HybridPrivateKey
    refreshed: int = 0
    followed: Keyset | None = None

    @classmethod
    def create(cls, namespace: str) -> "Team":
        """Make a team with one active key of each kind."""
        founded = found(namespace=namespace, trust_domain=TRUST_DOMAIN, now_ms=NOW_MS)
        return cls(replace(founded.contents, id_key=bytes(32)), founded.signer)

    @property
    def namespace(self) -> str:
        """Whose keys these are."""
        return self.contents.namespace

    @property
    def trust_domain(self) -> str:
        """The deployment."""
        return self.contents.trust_domain

    @property
    def id_key(self) -> bytes:
        """The secret of operation ids."""
        return self.contents.id_key

    def signing_key(self) -> SigningPrivateKey:
        """Return the active signing key."""
        secret = self._active(KeyKind.SIGNING).secret
        assert secret is not None
        return SigningPrivateKey.from_bytes(secret)

    def sealing_key(self) -> EncryptionPublicKey:
        """Return the active encryption key."""
        return EncryptionPublicKey(self._active(KeyKind.ENCRYPTION).record.public_key)

    @property
    def recipient(self) -> RecipientKey:
        """This team as a recipient."""
        return RecipientKey(namespace=self.namespace, key=self.sealing_key())

    def decryption_key(self, key_id: bytes) -> EncryptionPrivateKey | None:
        """Return the key of an id."""
        for key in self.contents.keys:
            if key.record.key_id == key_id and key.secret is not None:
                return EncryptionPrivateKey.from_seed(key.secret)
        return None

    def public_keys(self) -> tuple[PublicKeyRecord, ...]:
        """Return all public keys."""
        return tuple(key.record for key in self.contents.keys)

    def own_keys(self) -> OwnKeys:
        """Return the signing keys."""
        return OwnKeys(
            namespace=self.namespace, trust_domain=self.trust_domain, public_keys=self.public_keys()
        )

    def refresh(self) -> bool:
        """Count the calls: there is no file."""
        self.refreshed += 1
        return True

    def follow(self, published: Keyset) -> None:
        """Remember what the process is told to go by."""
        self.followed = published

    def rotate(self, kind: KeyKind) -> None:
        """Replace the active key of a kind."""
        retired = KeyState.DECRYPT_ONLY if kind is KeyKind.ENCRYPTION else KeyState.VERIFY_ONLY
        keys = [
            replace(key, record=replace(key.record, state=retired)) if key.record.kind is kind else key
            for key in self.contents.keys
        ]
        keys.append(new_key(kind, state=KeyState.ACTIVE, now_ms=NOW_MS))
        self.contents = replace(self.contents, keys=tuple(keys))

    def publish(self, now_ms: int) -> SignedKeyset:
        """Sign the next keyset."""
        signed = sign_keyset(next_keyset(self.contents, now_ms=now_ms), self.contents, self.signer)
        self.contents = replace(
            self.contents, keyset_version=self.contents.keyset_version + 1, keyset_hash=signed.hash
        )
        return signed

    def _active(self, kind: KeyKind) -> StoredKey:
        return self.contents.in_state(kind, KeyState.ACTIVE)[-1]


def trust_in(team: Team, path: Path | None = None) -> TrustStore:
    """Return a trust store that pins a team and the endpoint to it."""
    store = TrustStore(path, trust_domain=TRUST_DOMAIN)
    store.add(team.namespace, team.contents.fingerprint, endpoints=(ENDPOINT,))
    return store
