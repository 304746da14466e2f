"""Publishing keysets: again and again, and after a crash."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from isthmus.cli.key_revocation import revoke_key
from isthmus.keys.endpoint_records import own_signer
from isthmus.keys.errors import KeysError, KeysetRejectedError
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.founding import found
from isthmus.keys.hybrid_key import HybridPrivateKey
from isthmus.keys.keyring_format import KdfParameters, new_salt
from isthmus.keys.keyset import Pin, verify_keyset
from isthmus.keys.publication import KeysetPublication
from isthmus.keys.root_draft import adopt, draft, sign_draft
from isthmus.keys.rotation import revoke
from isthmus.keys.statements import KEYSET_LIFETIME_MS, next_keyset, sign_keyset
from isthmus.wire.chain import DAY_MS, MAX_VERSION, MAX_VERSION_STEP, ChainProblem
from isthmus.wire.public_key import KeyKind, KeyState
from isthmus.wire.trust_statement import SignedKeyset

NOW_MS = 1_800_000_000_000


class Directory:
    """A directory that keeps what it is given."""

    def __init__(self) -> None:
        self.published: list[SignedKeyset] = []

    def newest(self, namespace: str) -> SignedKeyset | None:
        """Return the newest keyset."""
        assert namespace == "app-team"
        return self.published[-1] if self.published else None

    def publish(self, signed: SignedKeyset) -> None:
        """Take whatever comes."""
        self.published.append(signed)


@pytest.fixture
def keyring(tmp_path: Path) -> FileKeyring:
    """A fresh keyring."""
    return FileKeyring.create(
        tmp_path / "keyring.json",
        b"correct horse",
        namespace="app-team",
        trust_domain="example.com",
        now_ms=NOW_MS,
        parameters=KdfParameters(salt=new_salt(), memory_kib=8, iterations=1, lanes=1),
    )


@pytest.fixture
def directory() -> Directory:
    """An empty directory."""
    return Directory()


def pin_of(keyring: FileKeyring) -> Pin:
    """Pin the root of a keyring."""
    return Pin(namespace="app-team", trust_domain="example.com", fingerprint=keyring.contents.fingerprint)


def publication(
    keyring: FileKeyring, directory: Directory, *, now_ms: int = NOW_MS, after_restore: bool = False
) -> KeysetPublication:
    """Return what publishes for the keyring."""
    return KeysetPublication(
        keyring=keyring,
        signer=keyring.signer_key(),
        directory=directory,
        now_ms=lambda: now_ms,
        after_restore=after_restore,
    )


def test_keyset_is_published_once_when_nothing_changed(keyring: FileKeyring, directory: Directory) -> None:
    """The command can be repeated."""
    first, first_is_new = publication(keyring, directory).publish()
    second, second_is_new = publication(keyring, directory).publish()
    assert (first_is_new, second_is_new) == (True, False)
    assert first == second
    assert len(directory.published) == 1


def test_keyset_is_renewed_when_half_of_its_life_is_over(keyring: FileKeyring, directory: Directory) -> None:
    """So that a monthly run of the command suffices, and an expired one is mended."""
    publication(keyring, directory).publish()
    published = [
        publication(keyring, directory, now_ms=NOW_MS + lives * KEYSET_LIFETIME_MS).publish()
        for lives in (1, 3)
    ]
    assert [(keyset.version, is_new) for keyset, is_new in published] == [(2, True), (3, True)]


@pytest.mark.parametrize(
    ("said_ms", "life_ms"), [(DAY_MS, DAY_MS), (60 * DAY_MS, 7 * DAY_MS), (0, 7 * DAY_MS)]
)
def test_keyset_lives_no_longer_than_the_delegation_says_when_it_is_published(
    keyring: FileKeyring, directory: Directory, *, said_ms: int, life_ms: int
) -> None:
    """Nor than seven days; what lives on for half of its life is not published again."""
    anew = draft(keyring.contents, signer=keyring.signer_key().public, now_ms=NOW_MS, keyset_life_ms=said_ms)
    keyring.update(lambda contents: adopt(contents, sign_draft(anew, keyring.root_key())))
    keyset, _ = publication(keyring, directory).publish()
    assert keyset.expires_at_ms - keyset.issued_at_ms == life_ms
    half_ms = NOW_MS + life_ms // 2
    later = [publication(keyring, directory, now_ms=half_ms + late_ms).publish()[1] for late_ms in (-1, 0)]
    assert later == [False, True]


def test_keyset_is_adopted_when_the_process_died_before_recording_it(
    keyring: FileKeyring, directory: Directory
) -> None:
    """The gateway has it, the keyring does not know: one's own root signed it."""
    keyset = next_keyset(keyring.contents, now_ms=NOW_MS)
    directory.publish(sign_keyset(keyset, keyring.contents, keyring.signer_key()))
    adopted, is_new = publication(keyring, directory).publish()
    assert (adopted, is_new) == (keyset, False)
    assert keyring.contents.keyset_version == 1


def test_keyset_is_refused_when_another_root_signed_it(keyring: FileKeyring, directory: Directory) -> None:
    """A gateway cannot make a namespace adopt keys."""
    keyset = next_keyset(keyring.contents, now_ms=NOW_MS)
    stranger = found(namespace="app-team", trust_domain="example.com", now_ms=NOW_MS)
    directory.publish(sign_keyset(keyset, stranger.contents, stranger.signer))
    with pytest.raises(KeysetRejectedError) as refused:
        publication(keyring, directory).publish()
    assert refused.value.problem is ChainProblem.PIN


def test_next_keyset_is_published_when_the_gateway_lost_the_others(
    keyring: FileKeyring, directory: Directory
) -> None:
    """Peers who saw the last one believe it, because it names its hash; repeated, nothing changes."""
    lost, _ = publication(keyring, directory).publish()
    _, before = verify_keyset(directory.published[0], pin=pin_of(keyring), seen=None, now_ms=NOW_MS)
    directory.published.clear()
    keyset, is_new = publication(keyring, directory).publish()
    assert (keyset.version, keyset.keys, is_new) == (2, lost.keys, True)
    (signed,) = directory.published
    for known in (before.marks, None):
        verified, _ = verify_keyset(signed, pin=pin_of(keyring), seen=known, now_ms=NOW_MS)
        assert verified.keyset == keyset
    assert publication(keyring, directory).publish() == (keyset, False)


def test_publishing_is_refused_when_the_gateway_has_an_older_keyset(
    keyring: FileKeyring, directory: Directory
) -> None:
    """A gateway that was set back to an old backup is a person's matter."""
    publication(keyring, directory).publish()
    publication(keyring, directory, now_ms=NOW_MS + KEYSET_LIFETIME_MS).publish()
    directory.published.pop()
    with pytest.raises(KeysetRejectedError) as refused:
        publication(keyring, directory).publish()
    assert refused.value.problem is ChainProblem.ROLLBACK


def test_next_keyset_is_published_when_a_person_says_that_the_gateway_was_restored(
    keyring: FileKeyring, directory: Directory
) -> None:
    """Its own chain goes on, over what the gateway forgot; peers who saw the forgotten one believe it."""
    publication(keyring, directory).publish()
    publication(keyring, directory, now_ms=NOW_MS + KEYSET_LIFETIME_MS).publish()
    forgotten = directory.published.pop()
    restored = publication(keyring, directory, now_ms=NOW_MS + KEYSET_LIFETIME_MS, after_restore=True)
    keyset, is_new = restored.publish()
    assert (keyset.version, keyset.previous_hash, is_new) == (3, forgotten.hash, True)
    assert restored.publish() == (keyset, False)


def test_keyset_of_another_root_is_refused_when_the_gateway_was_restored(
    keyring: FileKeyring, directory: Directory
) -> None:
    """A restore explains an older keyset, not somebody else's."""
    publication(keyring, directory).publish()
    older = next_keyset(keyring.contents, now_ms=NOW_MS)
    publication(keyring, directory, now_ms=NOW_MS + KEYSET_LIFETIME_MS).publish()
    publication(keyring, directory, now_ms=NOW_MS + 2 * KEYSET_LIFETIME_MS).publish()
    stranger = found(namespace="app-team", trust_domain="example.com", now_ms=NOW_MS)
    directory.published.append(sign_keyset(older, stranger.contents, stranger.signer))
    with pytest.raises(KeysetRejectedError) as refused:
        publication(keyring, directory, after_restore=True).publish()
    assert refused.value.problem is ChainProblem.PIN


def test_old_copy_publishes_nothing_when_a_key_was_revoked_elsewhere(
    keyring: FileKeyring, directory: Directory, tmp_path: Path
) -> None:
    """Whoever has the stolen key would be believed again."""
    publication(keyring, directory).publish()
    for path in tmp_path.glob("keyring.json*"):
        copy = tmp_path / "copy" / path.name
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
    (stolen,) = keyring.contents.in_state(KeyKind.SIGNING, KeyState.ACTIVE)
    revoke_key(keyring, publication(keyring, directory), stolen.record.key_id, now_ms=lambda: NOW_MS)
    old = FileKeyring(tmp_path / "copy" / "keyring.json", b"correct horse")
    published = len(directory.published)
    with pytest.raises(KeysError, match="old copy"):
        publication(old, directory).publish()
    assert len(directory.published) == published


def test_keyset_is_published_when_the_signer_before_revoked_everything(
    keyring: FileKeyring, directory: Directory
) -> None:
    """A stolen signer's word is not what the next one has to go on with."""
    publication(keyring, directory).publish()
    revoked = keyring.contents
    for key in keyring.contents.keys:
        revoked = revoke(revoked, key.record.key_id)
    theft = next_keyset(revoked, now_ms=NOW_MS)
    directory.publish(sign_keyset(theft, keyring.contents, keyring.signer_key()))
    made = draft(keyring.contents, signer=keyring.signer_key().public, now_ms=NOW_MS + 1)
    keyring.update(lambda contents: adopt(contents, sign_draft(made, keyring.root_key())))
    keyset, is_new = publication(keyring, directory).publish()
    assert is_new
    assert {key.state for key in keyset.keys} == {KeyState.ACTIVE}


def test_keyset_is_not_adopted_when_it_uses_versions_up(keyring: FileKeyring, directory: Directory) -> None:
    """A stolen signer leaves versions for the next one; small gaps are what a lost gateway leaves."""
    publication(keyring, directory).publish()
    for ahead in (MAX_VERSION_STEP + 1, MAX_VERSION - 1, MAX_VERSION_STEP):
        far = replace(
            next_keyset(keyring.contents, now_ms=NOW_MS), version=1 + ahead, previous_hash=bytes(32)
        )
        directory.publish(sign_keyset(far, keyring.contents, keyring.signer_key()))
        if ahead > MAX_VERSION_STEP:
            with pytest.raises(KeysetRejectedError) as refused:
                publication(keyring, directory).publish()
            assert refused.value.problem is ChainProblem.CHAIN
            assert keyring.contents.keyset_version == 1
    publication(keyring, directory).publish()
    assert keyring.contents.keyset_version > MAX_VERSION_STEP


def test_delegation_is_refused_when_a_root_made_it_that_was_replaced() -> None:
    """Whoever holds the keys of the root before, and has the gateway show it: the keyring knows the next."""
    founded = found(namespace="app-team", trust_domain="example.com", now_ms=NOW_MS)
    before, thief = founded.contents, HybridPrivateKey.generate()
    for _ in range(2):
        made = draft(before, signer=thief.public, now_ms=NOW_MS)
        before = adopt(before, sign_draft(made, founded.root))
    stolen = sign_keyset(next_keyset(before, now_ms=NOW_MS), before, thief)
    new_root = HybridPrivateKey.generate()
    moved = draft(founded.contents, keys=[new_root.public], signer=founded.signer.public, now_ms=NOW_MS)
    contents = adopt(founded.contents, sign_draft(sign_draft(moved, founded.root), new_root))
    with pytest.raises(KeysetRejectedError) as refused:
        own_signer(stolen, contents, now_ms=NOW_MS)
    assert refused.value.problem is ChainProblem.ROLLBACK
