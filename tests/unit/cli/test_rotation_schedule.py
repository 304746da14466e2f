"""When a rotation is due: the oldest key in use decides, and one that is under way always is."""

from dataclasses import replace
from pathlib import Path

import pytest

from isthmus.cli.exit_code import CliError
from isthmus.cli.rotation_schedule import days_of, note_beside, schedule_of
from isthmus.client.profile import Profile
from isthmus.keys.contents import KeyringContents, new_key
from isthmus.keys.founding import new_contents
from isthmus.keys.rotation import activate, pre_publish
from isthmus.wire.chain import DAY_MS
from isthmus.wire.public_key import KeyKind, KeyState

NOW_MS = 1_800_000_000_000


@pytest.fixture
def contents() -> KeyringContents:
    """A keyring whose keys were made just now."""
    return new_contents(namespace="app-team", trust_domain="example.com", now_ms=NOW_MS)


def test_rotation_is_due_when_the_oldest_key_in_use_is_old_enough(
    contents: KeyringContents, tmp_path: Path
) -> None:
    """Not a moment earlier; a key that was replaced since does not count."""
    note = note_beside(tmp_path / "keyring.json")
    schedule = schedule_of(contents, note, days=30)
    assert schedule.due_at_ms == NOW_MS + 30 * DAY_MS
    assert [schedule.is_due(schedule.due_at_ms + late) for late in (-1, 0)] == [False, True]
    for kind in KeyKind:
        later = new_key(kind, state=KeyState.PRE_PUBLISHED, now_ms=NOW_MS + DAY_MS)
        contents = activate(pre_publish(contents, later), kind)
        due_at_ms = schedule_of(contents, note, days=30).due_at_ms
        assert due_at_ms == NOW_MS + (31 if kind is KeyKind.SIGNING else 30) * DAY_MS


def test_rotation_is_due_when_one_is_under_way_or_nothing_is_in_use(
    contents: KeyringContents, tmp_path: Path
) -> None:
    """Whatever the age of the keys."""
    note = note_beside(tmp_path / "keyring.json")
    assert schedule_of(replace(contents, keys=()), note, days=30).is_due(NOW_MS)
    note.touch()
    assert schedule_of(contents, note, days=30).is_due(NOW_MS)


def test_days_are_those_of_the_profile_when_it_says_any() -> None:
    """A month otherwise; none at all is refused."""
    assert (days_of(Profile()), days_of(Profile(key_rotation_days=7))) == (30, 7)
    with pytest.raises(CliError, match="at least 1"):
        days_of(Profile(key_rotation_days=0))
