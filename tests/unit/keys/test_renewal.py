"""One's own keyset is kept alive, and looked at with suspicion."""

from dataclasses import replace

import pytest
from tests.unit.keys.world import DAY_MS, NOW_MS, keyset_of, sign, signing_record, team

from isthmus.envelope.key_material import SigningPrivateKey
from isthmus.keys.contents import KeyringContents
from isthmus.keys.errors import KeysetRejectedError
from isthmus.keys.founding import found
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.renewal import OwnKeyset, look_at_own
from isthmus.keys.root_draft import adopt, draft, sign_draft
from isthmus.keys.rotation import revoke
from isthmus.keys.statements import next_keyset
from isthmus.wire.chain import ChainProblem
from isthmus.wire.public_key import KeyKind, KeyState
from isthmus.wire.trust_statement import Keyset

CONTENTS = team().contents
KEYSET = next_keyset(CONTENTS, now_ms=NOW_MS)
SIGNED = sign(KEYSET)
PUBLISHED = replace(CONTENTS, keyset_version=1, keyset_hash=SIGNED.hash)


def look(at_ms: int, *, contents: KeyringContents = PUBLISHED, keyset: Keyset = KEYSET) -> OwnKeyset:
    """Look at a keyset that the signer signed."""
    return look_at_own(sign(keyset), contents, now_ms=at_ms)


def test_keyset_is_renewed_when_half_of_its_time_is_over() -> None:
    """Not before; and expired ones, too: that is what a renewal mends."""
    assert look(NOW_MS + 3 * DAY_MS).renewed is None
    for days in (4, 8, 30):
        own = look(NOW_MS + days * DAY_MS)
        assert own.renewed is not None
        again = look_at_own(own.renewed, PUBLISHED, now_ms=NOW_MS + days * DAY_MS)
        assert again.expires_at_ms == NOW_MS + (days + 7) * DAY_MS
        assert again.renewed is None
    assert look_at_own(SIGNED, PUBLISHED, now_ms=NOW_MS + 1, at_once=True).renewed is not None


def test_keyset_is_renewed_for_a_shorter_time_when_the_delegation_says_so() -> None:
    """When half of that is over."""
    short = found(namespace="app-team", trust_domain="acme", now_ms=NOW_MS, keyset_life_ms=DAY_MS)
    keyset = next_keyset(short.contents, now_ms=NOW_MS, lifetime_ms=DAY_MS)
    signed = sign(keyset, short)
    published = replace(short.contents, keyset_version=1, keyset_hash=signed.hash)
    assert look_at_own(signed, published, now_ms=NOW_MS + DAY_MS // 2).renewed is None
    late_ms = NOW_MS + DAY_MS // 2 + 1
    own = look_at_own(signed, published, now_ms=late_ms)
    assert (own.keyset_life_ms, own.renewed is None) == (DAY_MS, False)
    assert own.renewed is not None
    assert look_at_own(own.renewed, published, now_ms=late_ms).expires_at_ms == late_ms + DAY_MS


def test_keyset_is_not_renewed_when_its_delegation_ends_anyway() -> None:
    """Nothing would be gained."""
    own = look(NOW_MS + 91 * DAY_MS)
    assert own.renewed is None
    assert own.delegation_expires_at_ms == NOW_MS + 90 * DAY_MS


def test_keyset_is_not_renewed_when_this_keyring_may_not() -> None:
    """Without a renewer, or with another one than the root named."""
    late_ms = NOW_MS + 5 * DAY_MS
    other = found(namespace="app-team", trust_domain="acme", now_ms=NOW_MS).contents.renewer_secret
    for renewer in (None, other):
        assert look(late_ms, contents=replace(PUBLISHED, renewer_secret=renewer)).renewed is None


@pytest.mark.parametrize("state", [KeyState.PRE_PUBLISHED, KeyState.ACTIVE, KeyState.VERIFY_ONLY])
def test_keyset_is_not_renewed_when_it_lists_keys_that_the_keyring_lacks(state: KeyState) -> None:
    """A stolen signer's keyset dies in its time, and its owners hear of it."""
    stranger = SigningPrivateKey.generate()
    listed = (*KEYSET.keys, signing_record(stranger, state))
    foreign = keyset_of(*listed, version=2, previous_hash=SIGNED.hash)
    own = look(NOW_MS + 5 * DAY_MS, keyset=foreign)
    assert own.unknown == (stranger.key_id,)
    assert own.is_in_use is (state is not KeyState.PRE_PUBLISHED)
    assert own.renewed is None


def test_old_keys_are_not_missed_when_the_keyring_forgot_them() -> None:
    """Retired keys are nobody's concern."""
    stranger = signing_record(SigningPrivateKey.generate(), KeyState.RETIRED)
    own = look(
        NOW_MS + 5 * DAY_MS, keyset=keyset_of(*KEYSET.keys, stranger, version=2, previous_hash=SIGNED.hash)
    )
    assert own.unknown == ()
    assert own.renewed is not None


def with_signing_key_in(state: KeyState, *, version: int = 1) -> Keyset:
    """Return a keyset in which the signing key of the team is in a state."""
    records = [replace(key, state=state) if key.kind is KeyKind.SIGNING else key for key in KEYSET.keys]
    previous_hash = b"" if version == 1 else SIGNED.hash
    return keyset_of(*records, version=version, previous_hash=previous_hash)


@pytest.mark.parametrize("state", [KeyState.ACTIVE, KeyState.VERIFY_ONLY])
def test_keyset_is_not_renewed_when_a_revoked_key_came_back(state: KeyState) -> None:
    """Peers would believe it again: nobody but a stolen signer says so."""
    (mine,) = (key for key in PUBLISHED.keys if key.record.kind is KeyKind.SIGNING)
    contents = revoke(PUBLISHED, mine.record.key_id)
    own = look(NOW_MS + 5 * DAY_MS, contents=contents, keyset=with_signing_key_in(state, version=2))
    assert own.came_back == (mine.record.key_id,)
    assert own.is_in_use
    assert own.renewed is None


def test_no_key_came_back_when_the_keyset_goes_further_than_this_copy() -> None:
    """Also where it says what this keyring says, but for what is about to be published."""
    for state in (KeyState.ACTIVE, KeyState.VERIFY_ONLY, KeyState.RETIRED, KeyState.REVOKED):
        own = look(NOW_MS + 5 * DAY_MS, keyset=with_signing_key_in(state, version=2))
        assert (own.came_back, own.is_in_use) == ((), False)
    (mine,) = PUBLISHED.in_state(KeyKind.SIGNING, KeyState.ACTIVE)
    ahead = revoke(PUBLISHED, mine.record.key_id)
    assert look(NOW_MS + 5 * DAY_MS, contents=ahead).came_back == ()
    retired = look(
        NOW_MS + 5 * DAY_MS, contents=ahead, keyset=with_signing_key_in(KeyState.RETIRED, version=2)
    )
    assert retired.came_back == ()


def delegated_anew(signer: HybridPrivateKey) -> KeyringContents:
    """Return the keyring after its root delegated to a signer, which published nothing yet."""
    made = draft(PUBLISHED, signer=signer.public, now_ms=NOW_MS + 1)
    return adopt(PUBLISHED, sign_draft(made, team().root))


def test_keyset_is_not_kept_alive_when_its_signer_was_replaced() -> None:
    """A stolen signer's keysets die, whatever they list; what was there before is no alarm."""
    contents = delegated_anew(HybridPrivateKey.generate())
    assert look(NOW_MS + 5 * DAY_MS, contents=contents).renewed is None
    later = keyset_of(*KEYSET.keys, version=2, previous_hash=SIGNED.hash)
    with pytest.raises(KeysetRejectedError) as caught:
        look(NOW_MS + 5 * DAY_MS, contents=contents, keyset=later)
    assert caught.value.problem is ChainProblem.ROLLBACK


def test_keyset_is_not_renewed_when_a_newer_one_is_known() -> None:
    """A gateway that hides the newest one gets no help."""
    newer = replace(PUBLISHED, keyset_version=2, keyset_hash=bytes(32))
    assert look(NOW_MS + 5 * DAY_MS, contents=newer).renewed is None


def test_keyset_is_refused_when_it_is_not_ones_own() -> None:
    """Another root, or another keyset of the version that was signed last."""
    stranger = found(namespace="app-team", trust_domain="acme", now_ms=NOW_MS)
    with pytest.raises(KeysetRejectedError) as caught:
        look_at_own(sign(KEYSET, stranger), PUBLISHED, now_ms=NOW_MS)
    assert caught.value.problem is ChainProblem.PIN
    other = keyset_of(signing_record(SigningPrivateKey.generate()))
    with pytest.raises(KeysetRejectedError) as caught:
        look(NOW_MS, keyset=other)
    assert caught.value.problem is ChainProblem.EQUIVOCATION
