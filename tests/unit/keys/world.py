"""Keyrings and keysets that do not take a quarter of a second each."""

from pathlib import Path

from isthmus.envelope.key_material import SigningPrivateKey
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.keyring_format import KdfParameters
from isthmus.keys.keyset import Keyset, Pin, SignedKeyset, next_keyset, sign_keyset
from isthmus.keys.public_key import KeyKind, KeyState, PublicKeyRecord
from isthmus.wire.keyset import root_fingerprint

NOW_MS = 1_800_000_000_000
DAY_MS = 24 * 3600 * 1000
TRUST_DOMAIN = "acme"
PASSPHRASE = b"correct horse"
FAST = KdfParameters(salt=bytes(16), memory_kib=64, iterations=1, lanes=1)


def make_keyring(path: Path, *, namespace: str = "app-team", root_path: Path | None = None) -> FileKeyring:
    """Make a keyring file with cheap key derivation."""
    return FileKeyring.create(
        path,
        PASSPHRASE,
        namespace=namespace,
        trust_domain=TRUST_DOMAIN,
        now_ms=NOW_MS,
        root_path=root_path,
        parameters=FAST,
    )


def publish(keyring: FileKeyring, *, now_ms: int = NOW_MS, lifetime_ms: int = 90 * DAY_MS) -> SignedKeyset:
    """Sign the next keyset of a keyring, as publishing does."""
    keyset = next_keyset(keyring.contents, now_ms=now_ms, lifetime_ms=lifetime_ms)
    signed = sign_keyset(keyset, keyring.root_key())
    keyring.record_keyset(keyset.version, signed.hash)
    return signed


def pin_of(root: SigningPrivateKey, namespace: str = "app-team") -> Pin:
    """Pin a root."""
    fingerprint = root_fingerprint(root.public.raw)
    return Pin(namespace=namespace, trust_domain=TRUST_DOMAIN, root_fingerprint=fingerprint)


def signing_record(key: SigningPrivateKey, state: KeyState = KeyState.ACTIVE) -> PublicKeyRecord:
    """List a signing key."""
    return PublicKeyRecord(
        key_id=key.key_id, kind=KeyKind.SIGNING, state=state, public_key=key.public.raw, created_at_ms=NOW_MS
    )


def keyset_of(*records: PublicKeyRecord, version: int = 1, previous_hash: bytes = b"") -> Keyset:
    """Return a keyset that lists these keys."""
    return Keyset(
        trust_domain=TRUST_DOMAIN,
        namespace="app-team",
        version=version,
        previous_hash=previous_hash,
        issued_at_ms=NOW_MS,
        expires_at_ms=NOW_MS + DAY_MS,
        keys=tuple(sorted(records, key=lambda record: record.key_id)),
    )
