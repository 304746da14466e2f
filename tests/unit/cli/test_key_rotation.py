"""Rotations that are killed at any step, and repeated."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.cli.killable import (
    Killed,
    WatchedKeyring,
    World,
    check_rotated_once,
)

from isthmus.cli import key_forecast
from isthmus.cli.exit_code import CliError, ExitCode
from isthmus.cli.propagation import KeyHolder
from isthmus.keys.contents import KeyringContents, new_key
from isthmus.keys.errors import KeyringError, KeysError
from isthmus.keys.rotation import KEPT_FOR_REVOCATIONS, NEEDED_FOR_MS
from isthmus.wire.chain import MAX_KEYS
from isthmus.wire.public_key import KeyKind, KeyState


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A namespace whose first keyset is published."""
    return World.published_in(tmp_path)


def test_rotation_replaces_both_keys_when_nothing_interrupts_it(world: World) -> None:
    """Announced, waited for, then used."""
    before = {record.key_id for record in world.keyring().public_keys()}
    rotated = world.rotate(wait_seconds=10.0)
    check_rotated_once(world)
    assert set(rotated.replaced) == before
    assert sum(world.slept) == pytest.approx(10.0)
    announced = world.directory.keysets()[1]
    assert {key.state for key in announced.keys} == {KeyState.ACTIVE, KeyState.PRE_PUBLISHED}


def test_rotation_ends_the_same_when_it_is_killed_at_any_step_and_repeated(tmp_path: Path) -> None:
    """Every file write and every call to the gateway, before and after."""
    kills = 0
    while True:
        folder = tmp_path / str(kills)
        folder.mkdir()
        world = World.published_in(folder)
        world.steps, world.kill_at = 0, kills + 1
        try:
            world.rotate()
        except Killed:
            world.kill_at = None
            world.rotate()
            check_rotated_once(world)
            kills += 1
        else:
            break
    assert kills > 10


def test_new_keys_are_known_for_the_whole_wait_when_a_rotation_is_repeated(world: World) -> None:
    """The time that passed before the kill counts, from the moment when the keyset was published."""
    world.kill_at = 8
    with pytest.raises(Killed):
        world.rotate(wait_seconds=10.0)
    published_ms = world.directory.keysets()[1].issued_at_ms
    world.kill_at = None
    world.now_ms += 4_000
    world.rotate(wait_seconds=10.0)
    activated_ms = world.directory.keysets()[2].issued_at_ms
    assert activated_ms - published_ms == 10_000


def test_gateway_never_lags_behind_the_keyring_when_keys_become_active(world: World) -> None:
    """A key signs only while the newest keyset declares it active: the gateway would refuse it."""
    active: list[set[bytes]] = []
    declared: list[set[bytes]] = []

    class Spy(WatchedKeyring):
        def update(self, change: Callable[..., object]) -> object:  # type: ignore[override]
            changed = super().update(change)
            newest = world.directory.keysets()[-1]
            active.append(
                {key.record.key_id for key in self.contents.in_state(KeyKind.SIGNING, KeyState.ACTIVE)}
            )
            declared.append({key.key_id for key in newest.keys if key.state is KeyState.ACTIVE})
            return changed

    world.rotate(wait_seconds=1.0, keyring=Spy(world))
    assert all(used <= known for used, known in zip(active, declared, strict=True))


def holder(identity: str, keys: set[bytes], *, is_alive: bool = True) -> KeyHolder:
    """Return a process that has some keys."""
    return KeyHolder(
        principal="app-team/worker", identity=identity, key_ids=frozenset(keys), is_alive=is_alive
    )


def held(world: World) -> set[bytes]:
    """Return the ids of the keys that are in the keyring now."""
    return {bytes(record.key_id) for record in world.keyring().public_keys()}


def test_rotation_goes_on_at_once_when_all_that_live_have_the_new_keys(world: World) -> None:
    """No time has to pass, whatever the wait is for those who cannot be asked."""
    world.holders = lambda: [holder("a:1", held(world)), holder("b:1", held(world))]
    world.rotate(wait_seconds=600.0)
    check_rotated_once(world)
    assert world.slept == []
    assert "Every live process (2) has the new keys." in world.said


def test_rotation_waits_when_a_process_that_lives_lacks_the_new_keys(world: World) -> None:
    """Longer than those get who cannot be asked; it says for whom it waits, once."""
    old = held(world)

    def holders() -> list[KeyHolder]:
        late = held(world) if sum(world.slept) >= 30 else old
        return [holder("a:1", held(world)), holder("b:2", late)]

    world.holders = holders
    world.rotate(wait_seconds=10.0)
    check_rotated_once(world)
    assert 30 <= sum(world.slept) < 33
    waiting = [text for text in world.said if "b:2 (app-team/worker)" in text]
    assert waiting == [
        "1 of 2 live processes lack the new keys: b:2 (app-team/worker)",
    ]


def test_rotation_gives_up_and_goes_on_later_when_a_process_never_gets_the_new_keys(world: World) -> None:
    """The old keys stay in use; repeated, it goes on with the keys that it began with."""
    old = held(world)
    world.holders = lambda: [holder("a:1", held(world)), holder("b:2", old)]
    with pytest.raises(CliError, match=r"60 s, 1 of 2 .* b:2 \(app-team/worker\).*--without") as caught:
        world.rotate(timeout_seconds=60.0)
    assert caught.value.code is ExitCode.UNAVAILABLE
    assert sum(world.slept) == pytest.approx(60.0)
    announced = held(world)
    states_of_newest = {key.key_id: key.state for key in world.directory.keysets()[-1].keys}
    assert {key_id for key_id, state in states_of_newest.items() if state is KeyState.ACTIVE} == old
    world.holders = lambda: [holder("a:1", held(world)), holder("b:2", held(world))]
    world.rotate()
    check_rotated_once(world)
    assert held(world) == announced


@pytest.mark.parametrize("name", ["b:2", "b", "app-team/worker"])
def test_rotation_does_not_wait_for_a_process_when_it_is_told_so(world: World, name: str) -> None:
    """By what the message calls it, by its host, or by its principal."""
    old = held(world)
    world.holders = lambda: [
        holder("b:2", old),
        KeyHolder(principal="app-team/job", identity="c:2", key_ids=frozenset(held(world)), is_alive=True),
    ]
    world.rotate(without=frozenset({name}))
    check_rotated_once(world)
    assert world.slept == []


@pytest.mark.parametrize("has_them", [True, False])
def test_processes_that_are_gone_get_two_cache_lifetimes_when_they_may_come_back(
    world: World, *, has_them: bool
) -> None:
    """Counted from the announcement; who had the new keys when it went gets no time."""
    old = held(world)
    world.holders = lambda: [
        holder("a:1", held(world)),
        holder("job:7", held(world) if has_them else old, is_alive=False),
    ]
    world.rotate(wait_seconds=600.0)
    check_rotated_once(world)
    assert sum(world.slept) == pytest.approx(0.0 if has_them else 600.0)
    assert any("may come back" in text and "job:7" in text for text in world.said) is not has_them


@pytest.mark.parametrize("said", [None, []])
def test_everybody_gets_two_cache_lifetimes_when_nobody_says_anything(
    world: World, said: list[KeyHolder] | None
) -> None:
    """A gateway without reports, or a team whose processes did not report yet."""
    world.holders = lambda: said
    world.rotate(wait_seconds=600.0)
    check_rotated_once(world)
    assert sum(world.slept) == pytest.approx(600.0)


def test_rotation_that_waits_ends_the_same_when_it_is_killed_at_any_step_and_repeated(
    tmp_path: Path,
) -> None:
    """While it asks who has the keys, too: whoever lacked them then has them at the third time."""
    kills = 0
    while True:
        folder = tmp_path / str(kills)
        folder.mkdir()
        world = World.published_in(folder)
        old = held(world)
        asked: list[None] = []

        def holders(
            world: World = world, old: set[bytes] = old, asked: list[None] = asked
        ) -> list[KeyHolder]:
            asked.append(None)
            return [holder("a:1", held(world) if len(asked) > 2 else old)]

        world.holders = holders
        world.steps, world.kill_at = 0, kills + 1
        try:
            world.rotate()
        except Killed:
            world.kill_at = None
            world.rotate()
            check_rotated_once(world)
            kills += 1
        else:
            break
    assert kills > 12


def old_world(folder: Path) -> World:
    """A namespace whose first signing key was replaced so long ago that nothing needs it any more."""
    folder.mkdir()
    world = World.published_in(folder)
    for _ in range(2):
        world.rotate()
    world.now_ms += NEEDED_FOR_MS
    world.steps = 0
    return world


def check_retired_once(world: World) -> None:
    """Keyring and newest keyset say the same, and the secret of the oldest signing key is gone."""
    signing = [key for key in world.keyring().contents.keys if key.record.kind is KeyKind.SIGNING]
    assert [key.record.state for key in signing] == [
        KeyState.RETIRED,
        KeyState.VERIFY_ONLY,
        KeyState.VERIFY_ONLY,
        KeyState.ACTIVE,
    ]
    assert [key.secret is None for key in signing] == [True, False, False, False]
    assert set(world.directory.keysets()[-1].keys) == set(world.keyring().public_keys())
    assert not world.note.exists()


def test_old_signing_key_retires_when_nothing_that_it_signed_can_be_in_use(tmp_path: Path) -> None:
    """With the next rotation, which foretells it and says it; the one after that finds nothing to retire."""
    world = old_world(tmp_path / "old")
    contents = world.keyring().contents
    (first, *_) = contents.in_state(KeyKind.SIGNING, KeyState.VERIFY_ONLY)
    foretold = key_forecast.of_rotation(contents, None, world.path, under_way=False, now_ms=world.now_ms)
    assert [text.partition(":")[0] for text in foretold if text.startswith("Would retire")] == [
        f"Would retire the signing key {first.record.key_id.hex()}"
    ]
    assert world.rotate().retired == (first.record.key_id,)
    check_retired_once(world)
    assert world.rotate().retired == ()


def test_rotation_that_retires_ends_the_same_when_it_is_killed_at_any_step_and_repeated(
    tmp_path: Path,
) -> None:
    """Before and after the secret is gone, and before and after others hear of it."""
    kills = 0
    while True:
        world = old_world(tmp_path / str(kills))
        world.kill_at = kills + 1
        try:
            world.rotate()
        except Killed:
            world.kill_at = None
            world.rotate()
            check_retired_once(world)
            kills += 1
        else:
            break
    assert kills > 12


def test_second_rotation_begins_when_the_first_is_complete(world: World) -> None:
    """A rotation that ended is not continued."""
    first = world.rotate()
    second = world.rotate()
    assert set(second.replaced) == set(first.activated)


def test_rotation_is_refused_when_its_note_is_damaged(world: World) -> None:
    """The error says what to do with the note."""
    world.note.write_text("{}")
    world.note.chmod(0o600)
    with pytest.raises(KeysError, match="remove it"):
        world.rotate()


def fill(world: World, count: int) -> None:
    """Give the keyring so many keys, as years of rotations do."""

    def filled(contents: KeyringContents) -> KeyringContents:
        old = [
            replace(new_key(KeyKind.SIGNING, state=KeyState.VERIFY_ONLY, now_ms=world.now_ms), secret=None)
            for _ in range(count - len(contents.keys))
        ]
        return replace(contents, keys=(*contents.keys, *old))

    world.keyring().update(filled)


def test_rotation_is_refused_when_revocations_need_the_room(tmp_path: Path) -> None:
    """Before it changes anything; stolen keys can still be replaced, until nothing is left at all."""
    world = World(tmp_path)
    fill(world, MAX_KEYS - KEPT_FOR_REVOCATIONS - 1)
    before = world.path.read_bytes()
    with pytest.raises(KeyringError, match="kept for revocations"):
        world.rotate()
    assert (world.path.read_bytes(), world.note.exists()) == (before, False)
    for count in (MAX_KEYS - 1, MAX_KEYS):
        fill(world, count)
        (stolen,) = world.keyring().contents.in_state(KeyKind.SIGNING, KeyState.ACTIVE)
        if count < MAX_KEYS:
            world.revoke(stolen.record.key_id)
            continue
        before = world.path.read_bytes()
        with pytest.raises(KeyringError, match="room for 512 keys"):
            world.revoke(stolen.record.key_id)
        assert world.path.read_bytes() == before
    assert len(world.directory.keysets()[-1].keys) == MAX_KEYS
