"""A root that several people hold: drafted by one, signed by each, adopted once enough have signed."""

from dataclasses import replace

import pytest
from tests.unit.keys.world import NOW_MS, team

from isthmus.keys.contents import KeyringContents
from isthmus.keys.errors import KeysError
from isthmus.keys.founding import new_contents
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.root_draft import (
    RootDraft,
    adopt,
    decode_draft,
    decode_public,
    draft,
    encode_draft,
    encode_public,
    sign_draft,
)
from isthmus.wire.chain import ChainError
from isthmus.wire.trust_statement import Delegation, Root

ALICE, BOB, CAROL, SIGNER, EVE = (HybridPrivateKey.generate() for _ in range(5))
HOLDERS = [key.public for key in (ALICE, BOB, CAROL)]


def fresh() -> KeyringContents:
    """Return a keyring for which no root stands yet."""
    return new_contents(namespace="app-team", trust_domain="acme", now_ms=NOW_MS)


def drafted(contents: KeyringContents, *by: HybridPrivateKey) -> RootDraft:
    """Draft two of three, signed by some."""
    made = draft(contents, keys=HOLDERS, threshold=2, signer=SIGNER.public, now_ms=NOW_MS)
    for key in by:
        made = sign_draft(decode_draft(encode_draft(made)), key)
    return made


def test_root_is_adopted_when_enough_people_signed() -> None:
    """On paper from one to the next; adopted twice, nothing changes."""
    contents = fresh()
    made = drafted(contents, BOB, ALICE, BOB)
    assert made.missing() == {}
    adopted = adopt(contents, made)
    assert Root.decode(adopted.roots[0].statement).threshold == 2
    assert adopted.delegation is not None
    assert Delegation.decode(adopted.delegation.statement).signer == SIGNER.public
    assert adopt(adopted, made) == adopted


@pytest.mark.parametrize("by", [(), (ALICE,)])
def test_draft_is_not_adopted_when_signatures_are_missing(by: tuple[HybridPrivateKey, ...]) -> None:
    """The error says how many, and on what."""
    contents = fresh()
    with pytest.raises(KeysError, match=f"{2 - len(by)} on the new root, {2 - len(by)} on the delegation"):
        adopt(contents, drafted(contents, *by))


def test_draft_is_not_signed_when_the_key_has_no_say() -> None:
    """A typing mistake in front of the wrong file."""
    with pytest.raises(KeysError, match="belongs to no root"):
        sign_draft(drafted(fresh()), EVE)


def test_next_root_is_adopted_when_old_and_new_holders_signed() -> None:
    """From one key to several."""
    founded = team("app-team")
    made = drafted(founded.contents, ALICE, CAROL)
    assert made.missing() == {"old root": 1}
    adopted = adopt(founded.contents, sign_draft(made, founded.root))
    assert [Root.decode(root.statement).version for root in adopted.roots] == [1, 2]
    assert adopted.fingerprint != founded.contents.fingerprint
    again = draft(adopted, signer=EVE.public, now_ms=NOW_MS + 1)
    assert again.missing() == {"delegation": 2}
    with pytest.raises(KeysError, match="belongs to no root"):
        sign_draft(again, founded.root)
    delegated = adopt(adopted, sign_draft(sign_draft(again, ALICE), BOB))
    assert delegated.roots == adopted.roots
    assert delegated.delegation is not None
    assert Delegation.decode(delegated.delegation.statement).version == 3
    with pytest.raises(KeysError, match="newer delegation"):
        adopt(delegated, sign_draft(made, founded.root))


def test_draft_is_refused_when_it_is_not_for_this_keyring() -> None:
    """Another namespace, another renewer, another root in between, a forged signature."""
    contents = fresh()
    made = drafted(contents, ALICE, BOB)
    with pytest.raises(KeysError, match="not for this keyring"):
        adopt(replace(contents, namespace="data-team"), made)
    with pytest.raises(KeysError, match="another renewer"):
        adopt(fresh(), made)
    with pytest.raises(KeysError, match="follows another root"):
        adopt(team("app-team").contents, made)
    assert made.root is not None
    first, second = made.root.signatures
    forged = replace(second, ed25519=first.ed25519)
    with pytest.raises(KeysError, match="not for this keyring"):
        adopt(contents, replace(made, root=replace(made.root, signatures=(first, forged))))


def test_draft_is_refused_when_it_makes_no_sense() -> None:
    """No root yet and no keys; more signatures than keys; damage."""
    with pytest.raises(KeysError, match="no root yet"):
        draft(fresh(), signer=SIGNER.public, now_ms=NOW_MS)
    with pytest.raises(ChainError):
        draft(fresh(), keys=HOLDERS, threshold=4, signer=SIGNER.public, now_ms=NOW_MS)
    whole = encode_draft(drafted(fresh()))
    for damaged in (
        b"{",
        b"[]",
        whole[:-30],
        whole.replace(b"isthmus-root-draft/1", b"isthmus-root-draft/2"),
        whole.replace(b'"delegation": "', b'"delegation": "AAAA'),
    ):
        with pytest.raises(KeysError):
            decode_draft(damaged)


def test_public_key_is_one_line_when_it_is_handed_over() -> None:
    """And anything else is refused."""
    line = encode_public(ALICE.public)
    assert "\n" not in line
    assert decode_public(line + "\n") == ALICE.public
    for junk in ("", "isthmus-root-key", "isthmus-root-key AAAA", "ssh-ed25519 AAAA", line[:-8]):
        with pytest.raises(KeysError, match="root new"):
            decode_public(junk)
