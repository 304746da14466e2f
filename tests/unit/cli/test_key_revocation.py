"""Revocations that are killed at any step, and repeated."""

from pathlib import Path

import pytest
from tests.unit.cli.killable import Killed, World, states

from isthmus.keys.errors import KeysError
from isthmus.wire.public_key import KeyKind, KeyState
from isthmus.wire.trust_statement import SignedKeyset


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A namespace whose first keyset is published."""
    return World.published_in(tmp_path)


@pytest.mark.parametrize("kind", list(KeyKind))
def test_revocation_ends_the_same_when_it_is_killed_at_any_step_and_repeated(
    tmp_path: Path, kind: KeyKind
) -> None:
    """One successor, however often it was begun; keyring and keyset agree."""
    kills = 0
    while True:
        folder = tmp_path / str(kills)
        folder.mkdir()
        world = World.published_in(folder)
        stolen = world.keyring().contents.in_state(kind, KeyState.ACTIVE)[0].record.key_id
        world.steps, world.kill_at = 0, kills + 1
        try:
            world.revoke(stolen)
        except Killed:
            world.kill_at = None
            world.revoke(stolen)
            kills += 1
        else:
            break
        other = KeyKind.SIGNING if kind is KeyKind.ENCRYPTION else KeyKind.ENCRYPTION
        assert states(world) == {
            (kind, KeyState.ACTIVE): 1,
            (kind, KeyState.REVOKED): 1,
            (other, KeyState.ACTIVE): 1,
        }
        newest = world.directory.keysets()[-1]
        assert set(newest.keys) == set(world.keyring().public_keys())
        assert {key.key_id for key in newest.keys if key.state is KeyState.REVOKED} == {stolen}
    assert kills > 6


def test_nobody_uses_a_successor_before_its_keyset_when_a_key_is_revoked(world: World) -> None:
    """The private key is in the keyring first, then others are told, then it is used."""
    stolen = world.keyring().contents.in_state(KeyKind.SIGNING, KeyState.ACTIVE)[0].record.key_id
    seen: list[tuple[KeyState, ...]] = []
    published = world.directory.publish

    def publish(signed: SignedKeyset) -> None:
        keyring = world.keyring().public_keys()
        seen.append(tuple(sorted(key.state for key in keyring if key.kind is KeyKind.SIGNING)))
        published(signed)

    world.directory.publish = publish  # type: ignore[method-assign]
    world.revoke(stolen)
    assert seen == [(KeyState.PRE_PUBLISHED, KeyState.ACTIVE)]


def test_old_key_is_revoked_without_a_successor_when_it_was_replaced_before(world: World) -> None:
    """What is in use stays in use."""
    before = {key.key_id for key in world.keyring().public_keys()}
    world.rotate()
    for key_id in before:
        world.revoke(key_id)
    assert states(world) == {
        (KeyKind.ENCRYPTION, KeyState.ACTIVE): 1,
        (KeyKind.ENCRYPTION, KeyState.REVOKED): 1,
        (KeyKind.SIGNING, KeyState.ACTIVE): 1,
        (KeyKind.SIGNING, KeyState.REVOKED): 1,
    }
    with pytest.raises(KeysError, match="no key"):
        world.revoke(bytes(16))
