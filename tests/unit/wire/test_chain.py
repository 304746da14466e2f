"""The chain of trust: each rule has a test that breaks it alone; keysets have theirs in test_keyset.py."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest
from tests.unit.keys.world import DAY_MS, NOW_MS, TRUST_DOMAIN, keyset_of, signing_record, team

from isthmus.envelope.key_material import SigningPrivateKey
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.statements import add_signature, first_root, next_delegation, next_root, renew_keyset
from isthmus.wire.chain import (
    MAX_ROOTS,
    MAX_VERSION_STEP,
    Chain,
    ChainError,
    ChainProblem,
    Mark,
    Marks,
    check_progress,
    check_time,
    read_marks,
    verify_chain,
)
from isthmus.wire.trust_statement import (
    Delegation,
    Keyset,
    Renewal,
    Root,
    SignedKeyset,
    SignedStatement,
    StatementKind,
)

ALICE, BOB, CAROL, DAVE, SIGNER, RENEWER, EVE = (HybridPrivateKey.generate() for _ in range(7))
KEYSET = keyset_of(signing_record(SigningPrivateKey.from_bytes(bytes(range(32)))))
HOLDERS = (ALICE, BOB, CAROL)


def signed(kind: StatementKind, data: bytes, keys: Sequence[HybridPrivateKey]) -> SignedStatement:
    """Sign anything with any keys."""
    statement = SignedStatement(statement=data)
    for key in keys:
        statement = add_signature(kind, statement, key)
    return statement


def root_of(
    *keys: HybridPrivateKey, threshold: int = 2, after: SignedStatement | None = None, **changes: object
) -> Root:
    """Return a root of these keys, with changes."""
    public = [key.public for key in keys]
    if after is None:
        made = first_root(
            trust_domain=TRUST_DOMAIN, namespace="app-team", keys=public, threshold=threshold, now_ms=NOW_MS
        )
    else:
        made = next_root(after, keys=public, threshold=threshold, now_ms=NOW_MS)
    return replace(made, **changes)  # type: ignore[arg-type]


def signed_root(root: Root, *by: HybridPrivateKey) -> SignedStatement:
    """Sign a root."""
    return signed(StatementKind.ROOT, root.encode(), by)


FIRST = signed_root(root_of(*HOLDERS), ALICE, BOB)


def delegation_by(
    root: SignedStatement, *by: HybridPrivateKey, version: int = 1, **changes: object
) -> SignedStatement:
    """Return a signed delegation of a root, with changes."""
    made = next_delegation(root, None, signer=SIGNER.public, renewer=RENEWER.public, now_ms=NOW_MS)
    made = replace(made, version=version, **changes)  # type: ignore[arg-type]
    return signed(StatementKind.DELEGATION, made.encode(), by)


def chain_of(
    *roots: SignedStatement,
    delegation: SignedStatement | None = None,
    keyset: Keyset = KEYSET,
    by: Sequence[HybridPrivateKey] = (SIGNER,),
) -> SignedKeyset:
    """Return a chain whose parts are right unless others are given."""
    roots = roots or (FIRST,)
    return SignedKeyset(
        roots=roots,
        delegation=delegation or delegation_by(roots[-1], ALICE, BOB),
        keyset=signed(StatementKind.KEYSET, keyset.encode(), by),
    )


def verify(chain: SignedKeyset, *, fingerprint: bytes | None = FIRST.hash) -> Chain:
    """Verify against a pinned root."""
    return verify_chain(chain, trust_domain=TRUST_DOMAIN, namespace="app-team", fingerprint=fingerprint)


def problem_of(act: Callable[[], object]) -> ChainProblem:
    """Return which rule was broken."""
    with pytest.raises(ChainError) as caught:
        act()
    return caught.value.problem


def refused(chain: SignedKeyset, *, fingerprint: bytes | None = FIRST.hash) -> ChainProblem:
    """Return why a chain is refused."""
    return problem_of(lambda: verify(chain, fingerprint=fingerprint))


def test_chain_is_believed_when_every_rule_holds() -> None:
    """Two of three holders, a delegation, a keyset; and what is remembered of it is the same later."""
    chain = chain_of()
    verified = verify(chain)
    assert verified.keyset == KEYSET
    assert verified.root.threshold == 2
    assert verified.expires_at_ms == KEYSET.expires_at_ms
    assert read_marks(chain) == (verified.marks, verified.expires_at_ms)
    check_time(verified, NOW_MS)
    check_progress(verified, verified.marks)
    assert verify(chain, fingerprint=None) == verified


def test_one_person_is_enough_when_the_root_has_one_key() -> None:
    """What `isthmus keys init` makes."""
    contents = team().contents
    assert contents.delegation is not None
    chain = SignedKeyset(
        roots=contents.roots,
        delegation=contents.delegation,
        keyset=signed(StatementKind.KEYSET, KEYSET.encode(), [team().signer]),
    )
    assert verify(chain, fingerprint=contents.fingerprint).root.threshold == 1


# --- roots ---------------------------------------------------------------------------------------------


def test_chain_is_refused_when_its_root_is_not_the_pinned_one() -> None:
    """Substitution: everything in it is right, but of somebody else."""
    other = signed_root(root_of(DAVE, EVE), DAVE, EVE)
    chain = chain_of(other, delegation=delegation_by(other, DAVE, EVE))
    assert refused(chain) is ChainProblem.PIN
    assert verify(chain, fingerprint=other.hash).root.keys


def test_root_is_refused_when_too_few_signed() -> None:
    """One of two."""
    lonely = signed_root(root_of(*HOLDERS), ALICE)
    assert refused(chain_of(lonely)) is ChainProblem.TOO_FEW_SIGNERS


def test_root_is_refused_when_one_key_signed_twice() -> None:
    """A second signature by the same key is no second person."""
    once = signed_root(root_of(*HOLDERS), ALICE)
    twice = replace(once, signatures=once.signatures * 2)
    assert refused(chain_of(twice)) is ChainProblem.SIGNED_TWICE


def test_root_is_refused_when_a_stranger_signed_it_too() -> None:
    """Whoever has no say does not sign."""
    assert refused(chain_of(signed_root(root_of(*HOLDERS), ALICE, BOB, EVE))) is ChainProblem.NOT_THE_SIGNER


@pytest.mark.parametrize("half", ["ed25519", "ml_dsa_65"])
def test_root_is_refused_when_half_of_a_signature_is_wrong(half: str) -> None:
    """Both algorithms have to be broken."""
    first, second = FIRST.signatures
    wrong = replace(second, **{half: getattr(first, half)})
    assert refused(chain_of(replace(FIRST, signatures=(first, wrong)))) is ChainProblem.SIGNATURE


def test_signature_is_refused_when_it_was_made_for_another_kind_of_statement() -> None:
    """A keyset's signature is none of a delegation."""
    data = delegation_by(FIRST, ALICE, BOB).statement
    chain = chain_of(delegation=signed(StatementKind.ROOT, data, [ALICE, BOB]))
    assert refused(chain) is ChainProblem.SIGNATURE


def test_signatures_are_refused_when_they_are_not_sorted() -> None:
    """One chain has one form."""
    backwards = replace(FIRST, signatures=FIRST.signatures[::-1])
    assert refused(chain_of(backwards)) is ChainProblem.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 0},
        {"threshold": 4},
        {"keys": ()},
        {"keys": (ALICE.public, ALICE.public)},
        {"keys": tuple(sorted((key.public for key in HOLDERS), key=lambda key: key.key_id))[::-1]},
        {"keys": (replace(ALICE.public, ed25519=bytes(32)),)},
        {"keys": (replace(ALICE.public, ml_dsa_65=bytes(7)),)},
        {"version": 0},
        {"version": 2},
        {"previous_hash": bytes(32)},
    ],
)
def test_root_is_refused_when_it_makes_no_sense(changes: dict[str, object]) -> None:
    """Whoever signed it."""
    root = signed_root(replace(root_of(*HOLDERS), **changes), *HOLDERS)  # type: ignore[arg-type]
    assert refused(chain_of(root), fingerprint=root.hash) is ChainProblem.ROOT


def test_next_root_is_believed_when_old_and_new_keys_signed_it() -> None:
    """The rule of TUF; and a pin on the new one is as good."""
    second = signed_root(root_of(BOB, CAROL, DAVE, after=FIRST), ALICE, BOB, CAROL)
    chain = chain_of(FIRST, second, delegation=delegation_by(second, CAROL, DAVE))
    assert verify(chain).marks.root == Mark(version=2, hash=second.hash)
    assert verify(chain, fingerprint=second.hash).root.version == 2


def test_next_root_is_refused_when_the_old_one_did_not_sign() -> None:
    """Somebody stole one old key, and made a root of their own."""
    second = signed_root(root_of(EVE, DAVE, after=FIRST), EVE, DAVE, ALICE)
    chain = chain_of(FIRST, second, delegation=delegation_by(second, EVE, DAVE))
    assert refused(chain) is ChainProblem.OLD_ROOT


def test_next_root_is_refused_when_its_own_keys_did_not_sign() -> None:
    """Nobody is made a holder who did not say so."""
    second = signed_root(root_of(DAVE, EVE, after=FIRST), ALICE, BOB)
    chain = chain_of(FIRST, second, delegation=delegation_by(second, DAVE, EVE))
    assert refused(chain) is ChainProblem.TOO_FEW_SIGNERS


@pytest.mark.parametrize("changes", [{"version": 3}, {"previous_hash": bytes(32)}])
def test_next_root_is_refused_when_it_does_not_follow(changes: dict[str, object]) -> None:
    """Versions without gaps, hash after hash."""
    second = signed_root(root_of(*HOLDERS, after=FIRST, **changes), *HOLDERS)  # type: ignore[arg-type]
    assert refused(chain_of(FIRST, second)) is ChainProblem.ROOT


def test_roots_before_the_pinned_one_have_no_say() -> None:
    """A root whose keys were stolen long ago vouches for nothing among those who pinned its successor."""
    second = signed_root(root_of(DAVE, EVE, after=FIRST), ALICE, BOB, DAVE, EVE)
    forged = signed_root(root_of(BOB, CAROL, after=FIRST), ALICE, BOB, CAROL)
    assert refused(chain_of(FIRST, forged), fingerprint=second.hash) is ChainProblem.PIN


def test_chain_is_refused_when_it_has_too_many_roots() -> None:
    """Each costs a verification."""
    roots = [FIRST]
    while len(roots) <= MAX_ROOTS:
        roots.append(SignedStatement(statement=root_of(*HOLDERS, after=roots[-1]).encode()))
    assert refused(chain_of(*roots)) is ChainProblem.ROOT


# --- delegation ----------------------------------------------------------------------------------------


def test_delegation_is_refused_when_too_few_signed() -> None:
    """The same people as for a root."""
    assert refused(chain_of(delegation=delegation_by(FIRST, CAROL))) is ChainProblem.TOO_FEW_SIGNERS


@pytest.mark.parametrize(
    "changes",
    [
        {"root_hash": bytes(32)},
        {"version": 0},
        {"expires_at_ms": NOW_MS},
        {"expires_at_ms": NOW_MS + 91 * DAY_MS},
        {"max_renewal_ms": -1},
        {"max_renewal_ms": 91 * DAY_MS},
        {"renewer": SIGNER.public},
        {"signer": replace(SIGNER.public, ed25519=bytes(32))},
        {"renewer": replace(RENEWER.public, ml_dsa_65=bytes(7))},
    ],
)
def test_delegation_is_refused_when_it_makes_no_sense(changes: dict[str, object]) -> None:
    """Whoever signed it."""
    chain = chain_of(delegation=delegation_by(FIRST, ALICE, BOB, **changes))  # type: ignore[arg-type]
    assert refused(chain) is ChainProblem.DELEGATION


def test_delegation_is_refused_when_an_old_root_made_it() -> None:
    """A new root delegates anew: whoever was let go does not sign any more."""
    second = signed_root(root_of(*HOLDERS, after=FIRST), *HOLDERS)
    chain = chain_of(FIRST, second, delegation=delegation_by(FIRST, ALICE, BOB))
    assert refused(chain) is ChainProblem.DELEGATION


# --- keyset and renewal ----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [ALICE, RENEWER, EVE], ids=["root", "renewer", "stranger"])
def test_keyset_is_refused_when_somebody_else_signed_it(by: HybridPrivateKey) -> None:
    """The signer signs keysets, and nobody else."""
    assert refused(chain_of(by=[by])) is ChainProblem.NOT_THE_SIGNER


def test_keyset_is_refused_when_nobody_signed_it() -> None:
    """No signature is no signature that does not verify."""
    assert refused(chain_of(by=[])) is ChainProblem.TOO_FEW_SIGNERS


def test_keyset_ends_later_when_it_is_renewed() -> None:
    """By the renewer or by the signer, and never later than the delegation."""
    later_ms = NOW_MS + 5 * DAY_MS
    for renewer in (RENEWER, SIGNER):
        renewed = renew_keyset(chain_of(), renewer, now_ms=later_ms)
        verified = verify(renewed)
        assert verified.expires_at_ms == later_ms + 7 * DAY_MS
        assert verified.keyset == KEYSET
        assert read_marks(renewed) == (verified.marks, verified.expires_at_ms)
    short = delegation_by(FIRST, ALICE, BOB, expires_at_ms=NOW_MS + 2 * DAY_MS)
    renewed = renew_keyset(chain_of(delegation=short), RENEWER, now_ms=NOW_MS)
    assert verify(renewed).expires_at_ms == NOW_MS + 2 * DAY_MS


def renewal(*by: HybridPrivateKey, **changes: object) -> SignedKeyset:
    """Return a chain with a renewal of its keyset, with changes."""
    chain = chain_of()
    made = Renewal(
        trust_domain=TRUST_DOMAIN,
        namespace="app-team",
        keyset_hash=chain.keyset.hash,
        issued_at_ms=NOW_MS,
        expires_at_ms=NOW_MS + 3 * DAY_MS,
    )
    made = replace(made, **changes)  # type: ignore[arg-type]
    return replace(chain, renewal=signed(StatementKind.RENEWAL, made.encode(), by))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"keyset_hash": bytes(32)}, ChainProblem.RENEWAL),
        ({"expires_at_ms": NOW_MS + 8 * DAY_MS}, ChainProblem.RENEWAL),
        ({"expires_at_ms": NOW_MS}, ChainProblem.RENEWAL),
        ({"namespace": "data-team"}, ChainProblem.NAMESPACE),
        ({"trust_domain": "elsewhere"}, ChainProblem.TRUST_DOMAIN),
    ],
)
def test_renewal_is_refused_when_it_is_no_renewal_of_this_keyset(
    changes: dict[str, object], problem: ChainProblem
) -> None:
    """Of this very keyset, for as long as the delegation allows."""
    assert refused(renewal(RENEWER, **changes)) is problem


def test_renewal_is_refused_when_somebody_else_signed_it() -> None:
    """Or nobody, or two."""
    assert refused(renewal(ALICE)) is ChainProblem.NOT_THE_SIGNER
    assert refused(renewal()) is ChainProblem.TOO_FEW_SIGNERS
    assert refused(renewal(RENEWER, SIGNER)) is ChainProblem.TOO_FEW_SIGNERS
    nobody = delegation_by(FIRST, ALICE, BOB, renewer=None)
    without = replace(renewal(RENEWER), delegation=nobody)
    assert refused(without) is ChainProblem.NOT_THE_SIGNER


# --- time and progress ---------------------------------------------------------------------------------


def test_chain_is_refused_when_it_has_expired() -> None:
    """Freeze: with its keyset, or with its delegation, whichever is first."""
    verified = verify(chain_of())
    end_ms = KEYSET.expires_at_ms
    check_time(verified, end_ms - 1)
    assert problem_of(lambda: check_time(verified, end_ms)) is ChainProblem.EXPIRED
    assert problem_of(lambda: check_time(verified, NOW_MS + 90 * DAY_MS)) is ChainProblem.DELEGATION_EXPIRED


@pytest.mark.parametrize("what", ["root", "delegation", "keyset", "renewal"])
def test_chain_is_refused_when_something_in_it_is_from_the_future(what: str) -> None:
    """A renewal that begins later would end later."""
    verified = verify(renewal(RENEWER))
    ahead = replace(getattr(verified, what), issued_at_ms=NOW_MS + 60_001)
    check_time(verified, NOW_MS - 60_000)
    shown = replace(verified, **{what: ahead})
    assert problem_of(lambda: check_time(shown, NOW_MS)) is ChainProblem.FUTURE


@pytest.mark.parametrize("part", ["root", "delegation", "keyset"])
def test_chain_is_refused_when_a_newer_part_was_seen(part: str) -> None:
    """Rollback of any part; and another one of the same version."""
    verified = verify(chain_of())
    newer = replace(verified.marks, **{part: Mark(version=2, hash=bytes(32))})
    other = replace(verified.marks, **{part: Mark(version=1, hash=bytes(32))})
    assert problem_of(lambda: check_progress(verified, newer)) is ChainProblem.ROLLBACK
    assert problem_of(lambda: check_progress(verified, other)) is ChainProblem.EQUIVOCATION


@pytest.mark.parametrize("part", ["root", "delegation", "keyset"])
def test_chain_is_refused_when_it_uses_versions_up(part: str) -> None:
    """Whoever has a stolen signer could leave none for the next one."""
    verified = verify(chain_of())
    for ahead, is_refused in ((MAX_VERSION_STEP, False), (MAX_VERSION_STEP + 1, True)):
        mark = Mark(version=1 + ahead, hash=bytes(32))
        roots = (*verified.roots, mark) if part == "root" else verified.roots
        shown = replace(verified, roots=roots, marks=replace(verified.marks, **{part: mark}))
        if is_refused:
            assert problem_of(partial(check_progress, shown, verified.marks)) is ChainProblem.CHAIN
        else:
            check_progress(shown, verified.marks)


def test_chain_is_refused_when_the_root_that_was_seen_is_not_in_it() -> None:
    """Two histories of the same root, of which one goes on."""
    seen = verify(chain_of(FIRST, signed_root(root_of(*HOLDERS, after=FIRST), *HOLDERS))).marks
    fork = signed_root(root_of(BOB, CAROL, after=FIRST), ALICE, BOB, CAROL)
    third = signed_root(root_of(BOB, CAROL, after=fork), BOB, CAROL)
    # Newer in every part, so that nothing but the root tells.
    delegation = delegation_by(third, BOB, CAROL, version=2)
    newer = replace(KEYSET, version=3, previous_hash=bytes(32))
    other = verify(chain_of(FIRST, fork, third, delegation=delegation, keyset=newer))
    assert problem_of(lambda: check_progress(other, seen)) is ChainProblem.EQUIVOCATION


def test_marks_are_refused_when_there_is_no_chain() -> None:
    """What was stored is not what it was."""
    broken = replace(chain_of(), delegation=SignedStatement(statement=b"\xff"))
    for chain in (broken, replace(chain_of(), roots=())):
        assert problem_of(lambda chain=chain: read_marks(chain)) is ChainProblem.MALFORMED  # type: ignore[misc]


@pytest.mark.parametrize("kind", [Root, Delegation, Keyset, Renewal])
def test_statement_comes_back_when_it_is_decoded(kind: type[Root | Delegation | Keyset | Renewal]) -> None:
    """Every field, in one form only."""
    chain = renewal(RENEWER)
    assert chain.renewal is not None
    data = {
        Root: chain.roots[0],
        Delegation: chain.delegation,
        Keyset: chain.keyset,
        Renewal: chain.renewal,
    }[kind].statement
    assert kind.decode(data).encode() == data
    for junk in (data + b"\xfa\x3f\x01x", data[:-1], b"\xff", b"x" * (1024 * 1024 + 1)):
        with pytest.raises(ValueError, match=r"this is no|canonical|larger"):
            kind.decode(junk)


def test_marks_compare_by_value() -> None:
    """They are what is written down."""
    mark = Mark(version=1, hash=b"h")
    assert Marks(root=mark, delegation=mark, keyset=mark) == Marks(root=mark, delegation=mark, keyset=mark)
