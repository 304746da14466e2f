"""The chain of trust, from a pinned root to the public keys of a namespace. It does no I/O and has no clock.

Everything is of one trust domain and one namespace, the expected ones, and nothing was issued in the future
(clocks may differ by a minute). Every statement is in its canonical form. Signatures are hybrid, sorted by
key id and each by another key; one that does not verify, or is by a key that has no say, is refused.

**Roots.** 1 to 32 of them, consecutive: each version is one more than the one before and names its hash. A
root has 1 to 16 sound keys, sorted by id, and a threshold of 1 up to their number. The pinned root (or the
first, where nothing is pinned) is signed by the threshold of its own keys; each later one by the threshold of
its own keys **and** by that of the root before. Roots before the pinned one have no say.

**Delegation.** Signed by the threshold of the newest root, which it names by its hash. It lives at most 90
days. Signer and renewer are two sound keys.

**Keyset.** Signed by the signer of the delegation, once. It lives at most 90 days. Keys are sorted by id,
every id follows from its full key, and none occurs twice; at most one encryption key is active; a key's state
is one that its kind can be in. A key that was listed before under an id is still the same full key.

**Renewal.** Signed by the renewer or the signer, once, for the hash of this very keyset. It lives no longer
than the delegation allows. It moves the end of the keyset, and nothing else.

**Time.** A chain is current until its delegation ends or its keyset does, whichever is first; a keyset ends
with its renewal if it has one that ends later.

**Progress.** Of root, delegation and keyset the newest version that was seen is remembered with its hash: an
older one is refused, another one of the same version is, and so is a next keyset that does not name the
hash of the one before. So is one that leaves out more than 2^20 versions: a signer that was stolen could use
them all up, and its successor would have none left. A root that follows the newest one seen must come after
it in this very chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from itertools import pairwise
from typing import TypeVar

from isthmus.wire import limits
from isthmus.wire.ed25519 import is_weak
from isthmus.wire.errors import WireFormatError
from isthmus.wire.hybrid import HybridPublicKey
from isthmus.wire.names import DIGEST_BYTES
from isthmus.wire.public_key import KEY_BYTES, LIVES, KeyKind, KeyState, PublicKeyRecord, key_id_of
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

DAY_MS = 24 * 3600 * 1000
MAX_ROOTS = 32
MAX_ROOT_KEYS = 16
MAX_KEYS = 512
MAX_SUITES = 16
MAX_SUITE_CHARS = 200
# More than anybody publishes, and a number that every store and every language can hold.
MAX_VERSION = 2**53
# More than any namespace makes in its life; and so few that nobody gets to the last version in steps of them.
MAX_VERSION_STEP = 2**20
MAX_LIFE_MS = 90 * DAY_MS

S = TypeVar("S", Root, Delegation, Keyset, Renewal)


@unique
class ChainProblem(StrEnum):
    """Which rule was broken."""

    MALFORMED = "malformed"
    NAMESPACE = "namespace"
    TRUST_DOMAIN = "trust-domain"
    PIN = "not-the-pinned-root"
    ROOT = "root"
    SIGNATURE = "signature"
    SIGNED_TWICE = "signed-twice"
    TOO_FEW_SIGNERS = "too-few-signers"
    OLD_ROOT = "not-signed-by-the-old-root"
    DELEGATION = "delegation"
    NOT_THE_SIGNER = "not-the-signer"
    RENEWAL = "renewal"
    ROLLBACK = "rollback"
    EQUIVOCATION = "equivocation"
    CHAIN = "chain"
    BUNDLE = "bundle"
    CLAIMED_TWICE = "endpoint-claimed-twice"
    EXPIRED = "expired"
    DELEGATION_EXPIRED = "delegation-expired"
    FUTURE = "future"
    KEY_ID = "key-id"
    DUPLICATE = "duplicate"
    KEY_CHANGED = "key-changed"
    KEY_STATE = "key-state"
    KEY = "key"
    ENDPOINT = "endpoint"
    RECORD = "endpoint-record"
    WITHHELD = "withheld"


class ChainError(ValueError):
    """A chain that breaks a rule."""

    def __init__(self, problem: ChainProblem, about: str) -> None:
        super().__init__(about)
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A statement that was seen: its version and its hash."""

    version: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The newest statements of a namespace that were ever verified."""

    root: Mark
    delegation: Mark
    keyset: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain that satisfies every rule but those of time and progress."""

    root: Root
    delegation: Delegation
    keyset: Keyset
    renewal: Renewal | None
    expires_at_ms: int
    """When the chain ends: with its delegation, or with its keyset as it was renewed."""
    marks: Marks
    roots: tuple[Mark, ...]
    """All roots, the newest last."""


def verify_authority(
    roots: Sequence[SignedStatement],
    delegation: SignedStatement,
    *,
    trust_domain: str,
    namespace: str,
    fingerprint: bytes | None,
) -> tuple[tuple[Root, ...], Delegation]:
    """Return all roots and the delegation when they satisfy their rules; arguments as for ``verify_chain``.

    Raises:
        ChainError: they break a rule.
    """
    read = verify_roots(roots, trust_domain=trust_domain, namespace=namespace, fingerprint=fingerprint)
    return read, _read_delegation(delegation, roots[-1].hash, read[-1], (trust_domain, namespace))


def verify_roots(
    roots: Sequence[SignedStatement],
    *,
    trust_domain: str,
    namespace: str,
    fingerprint: bytes | None,
    kind: StatementKind = StatementKind.ROOT,
) -> tuple[Root, ...]:
    """Return all roots when they satisfy their rules; arguments as for ``verify_chain``.

    The roots of an organization follow the same rules as those of a namespace, in a context of their own.

    Raises:
        ChainError: they break a rule.
    """
    read = _read_roots(roots, (trust_domain, namespace))
    _check_roots(roots, read, _pinned(roots, fingerprint), kind)
    return tuple(read)


def verify_chain(
    signed: SignedKeyset, *, trust_domain: str, namespace: str, fingerprint: bytes | None
) -> Chain:
    """Return what a chain says when it satisfies the rules that depend on nothing but itself and the pin.

    Args:
        signed: as relayed.
        trust_domain: the expected deployment.
        namespace: whose chain it has to be.
        fingerprint: the hash of the pinned root; None where nothing is pinned: the first root counts.

    Raises:
        ChainError: it breaks a rule.
    """
    whose = (trust_domain, namespace)
    roots, delegation = verify_authority(
        signed.roots,
        signed.delegation,
        trust_domain=trust_domain,
        namespace=namespace,
        fingerprint=fingerprint,
    )
    keyset = _read_keyset(signed.keyset, delegation, whose)
    renewal = None
    if signed.renewal is not None:
        renewal = _read_renewal(signed.renewal, delegation, whose)
        require(renewal.keyset_hash == signed.keyset.hash, ChainProblem.RENEWAL, "of another keyset")
    return Chain(
        root=roots[-1],
        delegation=delegation,
        keyset=keyset,
        renewal=renewal,
        expires_at_ms=_end_ms(keyset, renewal, delegation),
        marks=_marks(signed, roots[-1], delegation, keyset),
        roots=marks_of(signed.roots, roots),
    )


def read_marks(signed: SignedKeyset) -> tuple[Marks, int]:
    """Return what a chain that was verified before is remembered by, and when its keyset ends.

    Raises:
        ChainError: it is no chain.
    """
    try:
        root = Root.decode(signed.roots[-1].statement)
        delegation = Delegation.decode(signed.delegation.statement)
        keyset = Keyset.decode(signed.keyset.statement)
        renewal = None if signed.renewal is None else Renewal.decode(signed.renewal.statement)
    except (IndexError, WireFormatError):
        raise ChainError(ChainProblem.MALFORMED, "this is no chain") from None
    return _marks(signed, root, delegation, keyset), _end_ms(keyset, renewal, delegation)


def marks_of(signed: Sequence[SignedStatement], roots: Sequence[Root]) -> tuple[Mark, ...]:
    """Return what roots are remembered by, in their order."""
    return tuple(
        Mark(version=root.version, hash=statement.hash) for root, statement in zip(roots, signed, strict=True)
    )


def check_time(chain: Chain, now_ms: int) -> None:
    """Require that a chain is current. Raises ChainError."""
    latest_ms = now_ms + limits.CLOCK_SKEW_MS
    for statement in (chain.root, chain.delegation, chain.keyset, chain.renewal):
        early = statement is not None and statement.issued_at_ms > latest_ms
        require(not early, ChainProblem.FUTURE, "issued in the future")
    for key in chain.keyset.keys:
        require(key.created_at_ms <= latest_ms, ChainProblem.FUTURE, "a key was made in the future")
    expired = ChainProblem.DELEGATION_EXPIRED
    require(now_ms < chain.delegation.expires_at_ms, expired, "the delegation has expired")
    require(now_ms < chain.expires_at_ms, ChainProblem.EXPIRED, "the keyset has expired")


def check_progress(chain: Chain, seen: Marks) -> None:
    """Require that nothing is older than, or contradicts, what was seen before. Raises ChainError."""
    newest = chain.marks
    pairs = ((newest.root, seen.root), (newest.delegation, seen.delegation), (newest.keyset, seen.keyset))
    for mark, before in pairs:
        check_mark(mark, before)
    check_same_roots(chain.roots, seen.root)
    if newest.keyset.version == seen.keyset.version + 1:
        named = chain.keyset.previous_hash == seen.keyset.hash
        require(named, ChainProblem.CHAIN, "the keyset does not name the one before")


def check_mark(newest: Mark, seen: Mark) -> None:
    """Require that a statement is neither older than the one seen, nor another one, nor far ahead of it.

    Raises:
        ChainError: it is.
    """
    require(newest.version >= seen.version, ChainProblem.ROLLBACK, "a newer one was seen")
    skips = f"it leaves out more than {MAX_VERSION_STEP} versions"
    require(newest.version - seen.version <= MAX_VERSION_STEP, ChainProblem.CHAIN, skips)
    same = newest.version != seen.version or newest.hash == seen.hash
    require(same, ChainProblem.EQUIVOCATION, "another one of this version was seen")


def check_same_roots(roots: Sequence[Mark], seen: Mark) -> None:
    """Require that the newest root that was seen is one of these. Raises ChainError."""
    require(seen in roots, ChainProblem.EQUIVOCATION, "the root that was seen is not among these")


def check_same_keys(keyset: Keyset, known: Keyset) -> None:
    """Require that an id which was listed before still means the same key. Raises ChainError."""
    before = {record.key_id: record.public_key for record in known.keys}
    for record in keyset.keys:
        same = before.get(record.key_id, record.public_key) == record.public_key
        require(same, ChainProblem.KEY_CHANGED, "another key under a known id")


def require_signer(signed: SignedStatement, kind: StatementKind, signer: HybridPublicKey) -> None:
    """Require that this key signed a statement, once, and nobody else did. Raises ChainError."""
    signers = _signers(signed, kind, (signer,))
    require(len(signers) == 1, ChainProblem.TOO_FEW_SIGNERS, "the signer did not sign it")


def check_root_form(root: Root) -> None:
    """Require what makes a root sensible, whoever signed it. Raises ChainError."""
    problem = ChainProblem.ROOT
    check_version(root.version, root.previous_hash, problem)
    require(0 < len(root.keys) <= MAX_ROOT_KEYS, problem, f"a root has 1 to {MAX_ROOT_KEYS} keys")
    ids = [key.key_id for key in root.keys]
    require(ids == sorted(set(ids)), problem, "the keys of a root are not sorted by id and unique")
    require(all(key.is_sound for key in root.keys), problem, "a key of a root is none")
    require(0 < root.threshold <= len(root.keys), problem, "the threshold does not fit the keys")


def check_signed_by_root(signed: SignedStatement, kind: StatementKind, root: Root) -> None:
    """Require the threshold of a root's keys on a statement, and no other signature. Raises ChainError."""
    _check_threshold(root, _signers(signed, kind, root.keys), ChainProblem.TOO_FEW_SIGNERS)


def check_keyset_form(keyset: Keyset) -> None:
    """Require what makes a keyset sensible, whoever signed it. Raises ChainError."""
    check_version(keyset.version, keyset.previous_hash, ChainProblem.CHAIN)
    check_life(keyset.issued_at_ms, keyset.expires_at_ms, MAX_LIFE_MS, ChainProblem.MALFORMED)
    suites = keyset.suites
    require(0 < len(suites) <= MAX_SUITES, ChainProblem.MALFORMED, f"a keyset has 1 to {MAX_SUITES} suites")
    require(len(set(suites)) == len(suites), ChainProblem.MALFORMED, "a suite is there twice")
    named = all(0 < len(suite) <= MAX_SUITE_CHARS and suite.isprintable() for suite in suites)
    require(named, ChainProblem.MALFORMED, "a suite has no proper name")
    require(0 < len(keyset.keys) <= MAX_KEYS, ChainProblem.MALFORMED, f"a keyset has 1 to {MAX_KEYS} keys")
    for before, after in pairwise(keyset.keys):
        ordered = before.key_id < after.key_id
        require(ordered, ChainProblem.DUPLICATE, "the keys are not sorted by key id and unique")
    for record in keyset.keys:
        _check_key(record)
    active = sum(
        record.kind is KeyKind.ENCRYPTION and record.state is KeyState.ACTIVE for record in keyset.keys
    )
    require(active <= 1, ChainProblem.KEY_STATE, "more than one encryption key is active")


def _read(kind: type[S], signed: SignedStatement, whose: tuple[str, str]) -> S:
    """Parse a statement of this namespace."""
    try:
        statement = kind.decode(signed.statement)
    except WireFormatError as error:
        raise ChainError(ChainProblem.MALFORMED, str(error)) from None
    trust_domain, namespace = whose
    foreign = f"not of the trust domain {trust_domain}"
    require(statement.trust_domain == trust_domain, ChainProblem.TRUST_DOMAIN, foreign)
    require(statement.namespace == namespace, ChainProblem.NAMESPACE, "of another namespace")
    require(statement.issued_at_ms > 0, ChainProblem.MALFORMED, "issued_at is missing")
    return statement


def _marks(signed: SignedKeyset, root: Root, delegation: Delegation, keyset: Keyset) -> Marks:
    return Marks(
        root=Mark(version=root.version, hash=signed.roots[-1].hash),
        delegation=Mark(version=delegation.version, hash=signed.delegation.hash),
        keyset=Mark(version=keyset.version, hash=signed.keyset.hash),
    )


def _end_ms(keyset: Keyset, renewal: Renewal | None, delegation: Delegation) -> int:
    renewed_ms = 0 if renewal is None else renewal.expires_at_ms
    return min(max(keyset.expires_at_ms, renewed_ms), delegation.expires_at_ms)


def _read_roots(signed: Sequence[SignedStatement], whose: tuple[str, str]) -> list[Root]:
    require(0 < len(signed) <= MAX_ROOTS, ChainProblem.ROOT, f"a chain has 1 to {MAX_ROOTS} roots")
    roots: list[Root] = []
    for one in signed:
        root = _read(Root, one, whose)
        check_root_form(root)
        roots.append(root)
    for index, (before, after) in enumerate(pairwise(roots)):
        follows = after.version == before.version + 1 and after.previous_hash == signed[index].hash
        require(follows, ChainProblem.ROOT, "a root does not follow the one before")
    return roots


def _pinned(signed: Sequence[SignedStatement], fingerprint: bytes | None) -> int:
    """Return the place of the root that counts first."""
    if fingerprint is None:
        return 0
    for index, one in enumerate(signed):
        if one.hash == fingerprint:
            return index
    raise ChainError(ChainProblem.PIN, "the pinned root is not among these")


def _check_roots(
    signed: Sequence[SignedStatement], roots: Sequence[Root], trusted: int, kind: StatementKind
) -> None:
    """Check the roots from the trusted one on."""
    for index in range(trusted, len(roots)):
        root = roots[index]
        before = roots[index - 1] if index else None
        both = root.keys if before is None else (*root.keys, *before.keys)
        signers = _signers(signed[index], kind, both)
        _check_threshold(root, signers, ChainProblem.TOO_FEW_SIGNERS)
        if before is not None and index > trusted:
            _check_threshold(before, signers, ChainProblem.OLD_ROOT)


def _read_delegation(
    signed: SignedStatement, root_hash: bytes, root: Root, whose: tuple[str, str]
) -> Delegation:
    problem = ChainProblem.DELEGATION
    delegation = _read(Delegation, signed, whose)
    require(delegation.root_hash == root_hash, problem, "the newest root does not delegate")
    require(0 < delegation.version <= MAX_VERSION, problem, f"versions go from 1 to {MAX_VERSION}")
    check_life(delegation.issued_at_ms, delegation.expires_at_ms, MAX_LIFE_MS, problem)
    renewer = delegation.renewer
    require(delegation.signer.is_sound, problem, "the signer is no key")
    require(renewer is None or renewer.is_sound, problem, "the renewer is no key")
    require(renewer != delegation.signer, problem, "signer and renewer are one key")
    require(0 <= delegation.max_renewal_ms <= MAX_LIFE_MS, problem, "a renewal gives at most 90 days")
    check_signed_by_root(signed, StatementKind.DELEGATION, root)
    return delegation


def _read_keyset(signed: SignedStatement, delegation: Delegation, whose: tuple[str, str]) -> Keyset:
    keyset = _read(Keyset, signed, whose)
    check_keyset_form(keyset)
    signers = _signers(signed, StatementKind.KEYSET, (delegation.signer,))
    require(len(signers) == 1, ChainProblem.TOO_FEW_SIGNERS, "the signer did not sign the keyset")
    return keyset


def _read_renewal(signed: SignedStatement, delegation: Delegation, whose: tuple[str, str]) -> Renewal:
    renewal = _read(Renewal, signed, whose)
    check_life(renewal.issued_at_ms, renewal.expires_at_ms, delegation.max_renewal_ms, ChainProblem.RENEWAL)
    keys = [delegation.signer] if delegation.renewer is None else [delegation.signer, delegation.renewer]
    signers = _signers(signed, StatementKind.RENEWAL, keys)
    require(len(signers) == 1, ChainProblem.TOO_FEW_SIGNERS, "a renewal has one signature")
    return renewal


def _signers(
    signed: SignedStatement, kind: StatementKind, keys: Sequence[HybridPublicKey]
) -> frozenset[HybridPublicKey]:
    """Return who signed, all of it verified."""
    by_id = {key.key_id: key for key in keys}
    ids = [signature.key_id for signature in signed.signatures]
    require(len(set(ids)) == len(ids), ChainProblem.SIGNED_TWICE, "one key signed twice")
    require(ids == sorted(ids), ChainProblem.MALFORMED, "the signatures are not sorted by key id")
    data = signed_bytes(kind, signed.statement)
    for signature in signed.signatures:
        key = by_id.get(signature.key_id)
        require(key is not None, ChainProblem.NOT_THE_SIGNER, "a key that has no say signed")
        verified = key is not None and key.verifies(signature, data)
        require(verified, ChainProblem.SIGNATURE, "a signature does not verify")
    return frozenset(by_id[key_id] for key_id in ids)


def _check_threshold(root: Root, signers: frozenset[HybridPublicKey], problem: ChainProblem) -> None:
    count = len(signers.intersection(root.keys))
    require(count >= root.threshold, problem, f"{count} of {root.threshold} keys of a root signed")


def check_version(version: int, previous_hash: bytes, problem: ChainProblem) -> None:
    """Require a version that exists, and the hash of a predecessor where there is one. Raises ChainError."""
    require(0 < version <= MAX_VERSION, problem, f"versions go from 1 to {MAX_VERSION}")
    previous_bytes = 0 if version == 1 else DIGEST_BYTES
    require(len(previous_hash) == previous_bytes, problem, "previous_hash does not fit the version")


def check_life(issued_at_ms: int, expires_at_ms: int, longest_ms: int, problem: ChainProblem) -> None:
    """Require an end after the beginning, and not too long after it. Raises ChainError."""
    life_ms = expires_at_ms - issued_at_ms
    require(0 < life_ms <= longest_ms, problem, f"it lives for at most {longest_ms // 1000} s")


def _check_key(record: PublicKeyRecord) -> None:
    require(len(record.public_key) == KEY_BYTES[record.kind], ChainProblem.KEY, "a key has the wrong size")
    is_weak_key = record.kind is KeyKind.SIGNING and is_weak(record.public_key)
    weak = "a signing key has a small order, or another spelling"
    require(not is_weak_key, ChainProblem.KEY, weak)
    follows = record.key_id == key_id_of(record.kind, record.public_key)
    require(follows, ChainProblem.KEY_ID, "a key id is not that of its public key")
    possible = record.state is KeyState.REVOKED or record.state in LIVES[record.kind]
    require(possible, ChainProblem.KEY_STATE, "a key has a state that its kind does not have")
    require(record.created_at_ms > 0, ChainProblem.MALFORMED, "created_at of a key is missing")


def require(condition: bool, problem: ChainProblem, about: str) -> None:  # noqa: FBT001
    """Raise ChainError unless a condition holds."""
    if not condition:
        raise ChainError(problem, about)
