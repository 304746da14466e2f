"""Which keys are in use where the keyring is a copy from before the last step of a rotation."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.keys.world import PASSPHRASE, make_keyring

from isthmus.keys.contents import KeyringContents, StoredKey, new_key
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.in_use import in_use
from isthmus.keys.rotation import activate, pre_publish, revoke
from isthmus.keys.statements import next_keyset
from isthmus.wire.public_key import KeyKind, KeyState
from isthmus.wire.trust_statement import Keyset

NOW_MS = 1_800_000_000_000


@pytest.fixture
def keyring(tmp_path: Path) -> FileKeyring:
    """A copy of a keyring in which new keys wait."""
    keyring = make_keyring(tmp_path / "keys.json")
    for kind in KeyKind:
        keyring.update(lambda contents, kind=kind: pre_publish(contents, successor(kind)))  # type: ignore[misc]
    return keyring


def successor(kind: KeyKind) -> StoredKey:
    """Return a key that is newer than those of the keyring."""
    return new_key(kind, state=KeyState.PRE_PUBLISHED, now_ms=NOW_MS + 1)


def activated(contents: KeyringContents) -> KeyringContents:
    """Return what the keyring says where the rotation ran."""
    for kind in KeyKind:
        contents = activate(contents, kind)
    return contents


def published(contents: KeyringContents, *, version: int = 7) -> Keyset:
    """Return the keyset that says what these contents say."""
    return replace(next_keyset(contents, now_ms=NOW_MS), version=version)


def used(keyring: FileKeyring) -> tuple[bytes, bytes]:
    """Return the ids of the keys that sign and seal."""
    return bytes(keyring.signing_key().key_id), bytes(keyring.sealing_key().key_id)


def active(contents: KeyringContents) -> tuple[bytes, bytes]:
    """Return the ids of the keys that sign and seal by these contents."""
    signing, sealing = (
        contents.in_state(kind, KeyState.ACTIVE)[-1].record.key_id
        for kind in (KeyKind.SIGNING, KeyKind.ENCRYPTION)
    )
    return bytes(signing), bytes(sealing)


def test_copy_uses_the_new_keys_when_the_newest_keyset_says_so(keyring: FileKeyring) -> None:
    """Without another copy of the file; what the keyring knows stays what is in the file."""
    before = keyring.contents
    after = activated(before)
    keyring.follow(published(after))
    assert used(keyring) == active(after) != active(before)
    old_signing, _ = active(before)
    known = keyring.own_keys().find_signing_key(old_signing)
    assert known is not None
    assert known.state.name == "VERIFY_ONLY"
    assert keyring.contents == before


def test_keys_stay_in_use_when_the_file_is_read_again(keyring: FileKeyring) -> None:
    """A copy that was delivered late says less than the keyset."""
    after = activated(keyring.contents)
    keyring.follow(published(after))
    other = FileKeyring(keyring._path, PASSPHRASE)
    other.update(lambda contents: replace(contents, keyset_version=6, keyset_hash=bytes(32)))
    assert keyring.refresh()
    assert used(keyring) == active(after)


def test_keyset_is_not_followed_when_the_file_is_newer(keyring: FileKeyring) -> None:
    """Nor does an older keyset undo what a newer one said."""
    before, after = keyring.contents, activated(keyring.contents)
    assert in_use(replace(before, keyset_version=8), published(after)).keys == before.keys
    assert in_use(before, None) is before
    keyring.follow(published(after))
    keyring.follow(published(before, version=6))
    assert used(keyring) == active(after)


def test_old_keys_stay_in_use_when_the_copy_lacks_the_new_ones(tmp_path: Path) -> None:
    """A rotation that was too early for it: what it signs is refused, but nothing is worse than before."""
    keyring = make_keyring(tmp_path / "keys.json")
    before = keyring.contents
    after = activated(pre_publish(before, successor(KeyKind.SIGNING)))
    keyring.follow(published(after))
    assert used(keyring) == active(before)
    assert keyring.own_keys().find_signing_key(active(after)[0]) is None


def test_copy_believes_a_key_no_more_when_the_newest_keyset_revokes_it(keyring: FileKeyring) -> None:
    """What its own namespace signed with it, too."""
    stolen, _ = active(keyring.contents)
    keyring.follow(published(revoke(activated(keyring.contents), stolen)))
    known = keyring.own_keys().find_signing_key(stolen)
    assert known is not None
    assert known.state.name == "REVOKED"
    assert used(keyring)[0] != stolen
