"""Making statements: the next root, delegation, keyset or renewal, and signatures on them. No I/O, no clock.

What is made here is what ``isthmus.wire.chain`` believes; both sides are tested against each other.
"""

from collections.abc import Sequence
from dataclasses import replace

from isthmus.keys.contents import KeyringContents
from isthmus.keys.errors import KeysError
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.wire.chain import DAY_MS, check_keyset_form, check_root_form
from isthmus.wire.hybrid import HybridPublicKey
from isthmus.wire.trust_statement import (
    Delegation,
    Keyset,
    Renewal,
    Root,
    SignedKeyset,
    SignedStatement,
    StatementKind,
    signed_bytes,
)

DELEGATION_LIFETIME_MS = 90 * DAY_MS
KEYSET_LIFETIME_MS = 7 * DAY_MS
SHORTEST_KEYSET_LIFETIME_MS = 3600 * 1000
"""Processes look at their keyset every five minutes, and renew it when half of its life is over."""


def first_root(
    *,
    trust_domain: str,
    namespace: str,
    keys: Sequence[HybridPublicKey],
    threshold: int,
    now_ms: int,
) -> Root:
    """Return the first root of a namespace. Raises ChainError when keys and threshold make none."""
    root = Root(
        trust_domain=trust_domain,
        namespace=namespace,
        version=1,
        previous_hash=b"",
        issued_at_ms=now_ms,
        threshold=threshold,
        keys=_sorted(keys),
    )
    check_root_form(root)
    return root


def next_root(
    before: SignedStatement, *, keys: Sequence[HybridPublicKey], threshold: int, now_ms: int
) -> Root:
    """Return the root that follows. Raises ChainError when keys and threshold make none."""
    known = Root.decode(before.statement)
    root = replace(
        known,
        version=known.version + 1,
        previous_hash=before.hash,
        issued_at_ms=now_ms,
        threshold=threshold,
        keys=_sorted(keys),
    )
    check_root_form(root)
    return root


def next_delegation(
    root: SignedStatement,
    before: SignedStatement | None,
    *,
    signer: HybridPublicKey,
    renewer: HybridPublicKey | None,
    now_ms: int,
    lifetime_ms: int = DELEGATION_LIFETIME_MS,
    max_renewal_ms: int | None = None,
) -> Delegation:
    """Return the delegation by a root that follows the one before.

    Keysets live for ``max_renewal_ms`` at a time; for as long as the delegation before says, or seven days,
    unless it is given.
    """
    whose = Root.decode(root.statement)
    if max_renewal_ms is None:
        known = None if before is None else Delegation.decode(before.statement)
        max_renewal_ms = KEYSET_LIFETIME_MS if known is None else known.max_renewal_ms
    return Delegation(
        trust_domain=whose.trust_domain,
        namespace=whose.namespace,
        version=1 if before is None else Delegation.decode(before.statement).version + 1,
        root_hash=root.hash,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + lifetime_ms,
        signer=signer,
        renewer=renewer,
        max_renewal_ms=max_renewal_ms,
    )


def keyset_life_ms(contents: KeyringContents, longest_ms: int = KEYSET_LIFETIME_MS) -> int:
    """Return how long a new keyset lives: no longer than its delegation lets a renewal give it."""
    if contents.delegation is None:
        return longest_ms
    # None at all is for those who do not renew.
    return min(longest_ms, Delegation.decode(contents.delegation.statement).max_renewal_ms or longest_ms)


def next_keyset(contents: KeyringContents, *, now_ms: int, lifetime_ms: int = KEYSET_LIFETIME_MS) -> Keyset:
    """Return the keyset that follows the last one which this keyring recorded."""
    keyset = Keyset(
        trust_domain=contents.trust_domain,
        namespace=contents.namespace,
        version=contents.keyset_version + 1,
        previous_hash=contents.keyset_hash,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + lifetime_ms,
        keys=tuple(sorted((key.record for key in contents.keys), key=lambda record: record.key_id)),
    )
    check_keyset_form(keyset)
    return keyset


def sign_keyset(keyset: Keyset, contents: KeyringContents, signer: HybridPrivateKey) -> SignedKeyset:
    """Sign a keyset under the roots and the delegation of a keyring.

    Raises:
        KeysError: the roots have not delegated yet.
    """
    if not contents.roots or contents.delegation is None:
        raise KeysError(
            f"the root of {contents.namespace} has not signed a delegation yet: see isthmus root --help"
        )
    signed = add_signature(StatementKind.KEYSET, SignedStatement(statement=keyset.encode()), signer)
    return SignedKeyset(roots=contents.roots, delegation=contents.delegation, keyset=signed)


def renew_keyset(signed: SignedKeyset, renewer: HybridPrivateKey, *, now_ms: int) -> SignedKeyset:
    """Return a keyset that lives on for as long as its delegation lets a renewal give it."""
    delegation = Delegation.decode(signed.delegation.statement)
    renewal = Renewal(
        trust_domain=delegation.trust_domain,
        namespace=delegation.namespace,
        keyset_hash=signed.keyset.hash,
        issued_at_ms=now_ms,
        expires_at_ms=now_ms + delegation.max_renewal_ms,
    )
    statement = SignedStatement(statement=renewal.encode())
    return replace(signed, renewal=add_signature(StatementKind.RENEWAL, statement, renewer))


def add_signature(kind: StatementKind, signed: SignedStatement, key: HybridPrivateKey) -> SignedStatement:
    """Add the signature of one more key; one that is there already is made anew."""
    others = [signature for signature in signed.signatures if signature.key_id != key.key_id]
    added = key.sign(signed_bytes(kind, signed.statement))
    signatures = sorted((*others, added), key=lambda signature: signature.key_id)
    return replace(signed, signatures=tuple(signatures))


def _sorted(keys: Sequence[HybridPublicKey]) -> tuple[HybridPublicKey, ...]:
    return tuple(sorted(keys, key=lambda key: key.key_id))
