"""Keyrings and keysets that do not take a quarter of a second each."""

from functools import cache
from pathlib import Path

from isthmus.envelope.key_material import SigningPrivateKey
from isthmus.keys.contents import KeyringContents
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.founding import Founded, found
from isthmus.keys.keyring_format import KdfParameters
from isthmus.keys.keyset import Pin
from isthmus.keys.statements import add_signature, next_keyset, sign_keyset
from isthmus.wire.chain import Mark, Marks
from isthmus.wire.public_key import KeyKind, KeyState, PublicKeyRecord
from isthmus.wire.trust_statement import (
    Keyset,
    SignedKeyset,
    SignedStatement,
    StatementKind,
)

NOW_MS = 1_800_000_000_000
DAY_MS = 24 * 3600 * 1000
TRUST_DOMAIN = "acme"
PASSPHRASE = b"correct horse"
NO_HASH = bytes(32)
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
    signed = sign_keyset(keyset, keyring.contents, keyring.signer_key())
    keyring.record_keyset(keyset.version, signed.hash)
    return signed


@cache
def team(name: str = "app-team", trust_domain: str = TRUST_DOMAIN) -> Founded:
    """Return the keys of a team, always the same ones."""
    return found(namespace=name, trust_domain=trust_domain, now_ms=NOW_MS)


def sign(keyset: Keyset | bytes, of: Founded | None = None) -> SignedKeyset:
    """Sign a keyset, or anything in place of one, as the signer of a team: even one that breaks the rules."""
    of = of or team()
    data = keyset if isinstance(keyset, bytes) else keyset.encode()
    signed = add_signature(StatementKind.KEYSET, SignedStatement(statement=data), of.signer)
    assert of.contents.delegation is not None
    return SignedKeyset(roots=of.contents.roots, delegation=of.contents.delegation, keyset=signed)


def pin_of(contents: KeyringContents) -> Pin:
    """Pin a root."""
    return Pin(
        namespace=contents.namespace, trust_domain=contents.trust_domain, fingerprint=contents.fingerprint
    )


def marks(version: int = 1, keyset_hash: bytes = NO_HASH, *, of: Founded | None = None) -> Marks:
    """Return what is remembered of a team whose newest keyset this is."""
    contents = (of or team()).contents
    assert contents.delegation is not None
    return Marks(
        root=Mark(version=1, hash=contents.fingerprint),
        delegation=Mark(version=1, hash=contents.delegation.hash),
        keyset=Mark(version=version, hash=keyset_hash),
    )


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
