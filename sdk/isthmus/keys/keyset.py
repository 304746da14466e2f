"""Keysets: what a namespace's root says about its public keys, and when that is believed.

The rules of trust, all of them pure:

- the root's public key has the pinned fingerprint, and it signed these very bytes; - namespace and trust
domain are the expected ones; - the version never goes back, and one version has one hash; the next version
names the hash of the one before; - it has not expired, and was not issued in the future; - the bytes are
canonical; keys are sorted by id, every id follows from its full key, none occurs twice, and a key
  that was listed before under its id is still the same full key;
- a key's state is one that its kind can be in; at most one encryption key is active.

Senders seal to the active encryption key only. Signatures are accepted from active and verify-only keys;
pre-published ones are known to exist, retired and revoked ones are refused.
"""

import hashlib
from dataclasses import dataclass, field
from itertools import pairwise

from google.protobuf.message import DecodeError

from isthmus.envelope.expected import KnownSigningKey
from isthmus.envelope.key_material import (
    ENCRYPTION_PUBLIC_KEY_BYTES,
    SIGNING_KEY_BYTES,
    EncryptionPublicKey,
    SigningPrivateKey,
    SigningPublicKey,
)
from isthmus.envelope.seal import RecipientKey
from isthmus.keys.contents import KeyringContents
from isthmus.keys.errors import KeysetProblem, KeysetRejectedError, NoSealingKeyError
from isthmus.keys.keyring import SIGNING_STATES
from isthmus.keys.public_key import LIVES, KeyKind, KeyState, PublicKeyRecord, key_id_of
from isthmus.v1 import key_service_pb2
from isthmus.wire import limits
from isthmus.wire.header import SUITE
from isthmus.wire.keyset import keyset_signed_bytes, root_fingerprint
from isthmus.wire.names import KeyId

DEFAULT_LIFETIME_MS = 90 * 24 * 3600 * 1000
MAX_KEYSET_BYTES = 1024 * 1024
_KEY_BYTES = {KeyKind.ENCRYPTION: ENCRYPTION_PUBLIC_KEY_BYTES, KeyKind.SIGNING: SIGNING_KEY_BYTES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyset:
    """All public keys of a namespace at one moment. Times are Unix milliseconds."""

    trust_domain: str
    namespace: str
    version: int
    previous_hash: bytes
    issued_at_ms: int
    expires_at_ms: int
    suites: tuple[str, ...] = (SUITE,)
    keys: tuple[PublicKeyRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedKeyset:
    """A keyset as transmitted, with the signature of its root."""

    keyset: bytes = field(repr=False)
    root_public_key: bytes
    signature: bytes = field(repr=False)

    @property
    def hash(self) -> bytes:
        """SHA-256 of the serialized keyset: what the next version names."""
        return hashlib.sha256(self.keyset).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What is known about a namespace's root by other means than the gateway."""

    namespace: str
    trust_domain: str
    root_fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenKeyset:
    """The newest keyset that was ever verified for a namespace."""

    version: int
    hash: bytes


class VerifiedKeyset:
    """A keyset that satisfied every rule, with its keys loaded. It is a ``VerifiedKeys``."""

    __slots__ = ("_recipient", "_signing", "hash", "keyset", "namespace", "trust_domain")

    keyset: Keyset
    hash: bytes
    namespace: str
    """Whose keys these are."""
    trust_domain: str
    """The deployment that they are valid in."""

    def __init__(self, keyset: Keyset, keyset_hash: bytes) -> None:
        """Load the keys of a keyset that was verified. Raises ValueError when one of them is no key."""
        self.keyset = keyset
        self.hash = keyset_hash
        self.namespace = keyset.namespace
        self.trust_domain = keyset.trust_domain
        self._signing: dict[bytes, KnownSigningKey] = {}
        self._recipient: RecipientKey | None = None
        for record in keyset.keys:
            if record.kind is KeyKind.SIGNING:
                self._signing[record.key_id] = KnownSigningKey(
                    key=SigningPublicKey(record.public_key), state=SIGNING_STATES[record.state]
                )
            elif record.state is KeyState.ACTIVE:
                key = EncryptionPublicKey(record.public_key)
                if SUITE in keyset.suites:
                    self._recipient = RecipientKey(namespace=keyset.namespace, key=key)

    def is_current(self, now_ms: int) -> bool:
        """Tell whether the keyset has not expired."""
        return now_ms < self.keyset.expires_at_ms

    def sealing_key(self) -> RecipientKey:
        """Return the key to seal to.

        Raises:
            NoSealingKeyError: no encryption key is active, or the namespace does not open this suite.

        """
        if self._recipient is None:
            raise NoSealingKeyError(f"{self.namespace} has no active encryption key for this suite")
        return self._recipient

    def find_signing_key(self, key_id: bytes) -> KnownSigningKey | None:
        """Return the key of this id in whatever state, or None when the keyset does not list it."""
        return self._signing.get(key_id)


def next_keyset(contents: KeyringContents, *, now_ms: int, lifetime_ms: int = DEFAULT_LIFETIME_MS) -> Keyset:
    """Return the keyset that follows the last one which this keyring signed."""
    return Keyset(
        trust_domain=contents.trust_domain,
        namespace=contents.namespace,
        version=contents.keyset_version + 1,
        previous_hash=contents.keyset_hash,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + lifetime_ms,
        keys=tuple(sorted((key.record for key in contents.keys), key=lambda record: record.key_id)),
    )


def sign_keyset(keyset: Keyset, root: SigningPrivateKey) -> SignedKeyset:
    """Sign a keyset. Raises KeysetRejectedError when it breaks a rule that verifiers check."""
    data = _serialize(keyset)
    _check_form(keyset, data)
    return SignedKeyset(
        keyset=data, root_public_key=root.public.raw, signature=root.sign(keyset_signed_bytes(data))
    )


def verify_keyset(
    signed: SignedKeyset,
    *,
    pin: Pin,
    seen: SeenKeyset | None,
    now_ms: int,
    known: Keyset | None = None,
) -> VerifiedKeyset:
    """Return the keyset when it satisfies every rule of this module.

    ``seen`` is what the trust store remembers, ``known`` the keyset that was verified before, if it is at
    hand.

    Raises:
        KeysetRejectedError: it does not.

    """
    _check_root(signed, pin)
    keyset = parse_keyset(signed.keyset, pin.namespace)
    _check_identity(keyset, pin)
    _check_progress(keyset, signed.hash, seen)
    _check_time(keyset, now_ms)
    if known is not None:
        _check_same_keys(keyset, known)
    try:
        return VerifiedKeyset(keyset, signed.hash)
    except ValueError:
        raise KeysetRejectedError(KeysetProblem.KEY, pin.namespace) from None


def parse_keyset(data: bytes, namespace: str) -> Keyset:
    """Parse a keyset as transmitted; ``namespace`` is for the error. Raises KeysetRejectedError."""
    if len(data) > MAX_KEYSET_BYTES:
        raise KeysetRejectedError(KeysetProblem.MALFORMED, namespace)
    message = key_service_pb2.Keyset()
    try:
        message.ParseFromString(data)
        keyset = Keyset(
            trust_domain=message.trust_domain,
            namespace=message.namespace,
            version=message.version,
            previous_hash=message.previous_hash,
            issued_at_ms=message.issued_at_ms,
            expires_at_ms=message.expires_at_ms,
            suites=tuple(message.suites),
            keys=tuple(
                PublicKeyRecord(
                    key_id=KeyId(key.key_id),
                    kind=KeyKind(key.kind),
                    state=KeyState(key.state),
                    public_key=key.public_key,
                    created_at_ms=key.created_at_ms,
                )
                for key in message.keys
            ),
        )
    except (DecodeError, ValueError):
        raise KeysetRejectedError(KeysetProblem.MALFORMED, namespace) from None
    _check_form(keyset, data)
    return keyset


def _check_root(signed: SignedKeyset, pin: Pin) -> None:
    if root_fingerprint(signed.root_public_key) != pin.root_fingerprint:
        raise KeysetRejectedError(KeysetProblem.ROOT, pin.namespace)
    try:
        root = SigningPublicKey(signed.root_public_key)
    except ValueError:
        raise KeysetRejectedError(KeysetProblem.ROOT, pin.namespace) from None
    if not root.verify(signed.signature, keyset_signed_bytes(signed.keyset)):
        raise KeysetRejectedError(KeysetProblem.SIGNATURE, pin.namespace)


def _check_identity(keyset: Keyset, pin: Pin) -> None:
    if keyset.namespace != pin.namespace:
        raise KeysetRejectedError(KeysetProblem.NAMESPACE, pin.namespace)
    if keyset.trust_domain != pin.trust_domain:
        raise KeysetRejectedError(KeysetProblem.TRUST_DOMAIN, pin.namespace)


def _check_progress(keyset: Keyset, keyset_hash: bytes, seen: SeenKeyset | None) -> None:
    if seen is None:
        return
    if keyset.version < seen.version:
        raise KeysetRejectedError(KeysetProblem.ROLLBACK, keyset.namespace)
    if keyset.version == seen.version and keyset_hash != seen.hash:
        raise KeysetRejectedError(KeysetProblem.EQUIVOCATION, keyset.namespace)
    if keyset.version == seen.version + 1 and keyset.previous_hash != seen.hash:
        raise KeysetRejectedError(KeysetProblem.CHAIN, keyset.namespace)


def _check_time(keyset: Keyset, now_ms: int) -> None:
    if now_ms >= keyset.expires_at_ms:
        raise KeysetRejectedError(KeysetProblem.EXPIRED, keyset.namespace)
    if keyset.issued_at_ms > now_ms + limits.CLOCK_SKEW_MS:
        raise KeysetRejectedError(KeysetProblem.FUTURE, keyset.namespace)


def _check_same_keys(keyset: Keyset, known: Keyset) -> None:
    before = {record.key_id: record.public_key for record in known.keys}
    for record in keyset.keys:
        if before.get(record.key_id, record.public_key) != record.public_key:
            raise KeysetRejectedError(KeysetProblem.KEY_CHANGED, keyset.namespace)


def _check_form(keyset: Keyset, data: bytes) -> None:
    if _serialize(keyset) != data or keyset.version < 1 or keyset.expires_at_ms <= keyset.issued_at_ms:
        raise KeysetRejectedError(KeysetProblem.MALFORMED, keyset.namespace)
    if (keyset.version == 1) != (keyset.previous_hash == b""):
        raise KeysetRejectedError(KeysetProblem.CHAIN, keyset.namespace)
    for before, after in pairwise(keyset.keys):
        if before.key_id >= after.key_id:
            raise KeysetRejectedError(KeysetProblem.DUPLICATE, keyset.namespace)
    active_encryption_keys = 0
    for record in keyset.keys:
        if len(record.public_key) != _KEY_BYTES[record.kind]:
            raise KeysetRejectedError(KeysetProblem.KEY, keyset.namespace)
        if record.key_id != key_id_of(record.kind, record.public_key):
            raise KeysetRejectedError(KeysetProblem.KEY_ID, keyset.namespace)
        if record.state is not KeyState.REVOKED and record.state not in LIVES[record.kind]:
            raise KeysetRejectedError(KeysetProblem.KEY_STATE, keyset.namespace)
        active_encryption_keys += record.kind is KeyKind.ENCRYPTION and record.state is KeyState.ACTIVE
    if active_encryption_keys > 1:
        raise KeysetRejectedError(KeysetProblem.KEY_STATE, keyset.namespace)


def _serialize(keyset: Keyset) -> bytes:
    message = key_service_pb2.Keyset(
        trust_domain=keyset.trust_domain,
        namespace=keyset.namespace,
        version=keyset.version,
        previous_hash=keyset.previous_hash,
        issued_at_ms=keyset.issued_at_ms,
        expires_at_ms=keyset.expires_at_ms,
        suites=keyset.suites,
    )
    for record in keyset.keys:
        message.keys.add(
            key_id=record.key_id,
            kind=int(record.kind),
            state=int(record.state),
            public_key=record.public_key,
            created_at_ms=record.created_at_ms,
        )
    return message.SerializeToString(deterministic=True)
