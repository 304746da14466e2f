"""Processes that look after their namespace's keyset, and say each thing once."""

import logging
from dataclasses import replace

import pytest
from tests.unit.client.teams import NOW_MS, Team

from isthmus.client.key_alarm import KeyAlarm, KeyAlarmKind
from isthmus.client.own_keyset import BlockingLook, OwnKeysetWatch
from isthmus.keys.contents import new_key
from isthmus.keys.rotation import revoke
from isthmus.keys.statements import next_keyset, sign_keyset
from isthmus.keys.timings import KeyTimings
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.connection import SyncConnection
from isthmus.wire.chain import DAY_MS
from isthmus.wire.public_key import KeyKind, KeyState
from isthmus.wire.trust_statement import SignedKeyset


@pytest.fixture
def team() -> Team:
    """A team whose keyset is published."""
    return Team.create("data-team")


def with_a_foreign_key(team: Team, state: KeyState = KeyState.ACTIVE) -> SignedKeyset:
    """Return a keyset that the team's signer signed and its keyring knows nothing of."""
    key = new_key(KeyKind.SIGNING, state=state, now_ms=NOW_MS)
    foreign = replace(team.contents, keys=(*team.contents.keys, key))
    return sign_keyset(next_keyset(foreign, now_ms=NOW_MS), foreign, team.signer)


def test_keyset_is_renewed_in_silence_when_it_is_ones_own(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    """In time, and not before."""
    signed = team.publish(NOW_MS)
    own = OwnKeysetWatch(team)
    assert own.consider(signed, now_ms=NOW_MS) is None
    assert own.consider(signed, now_ms=NOW_MS + 4 * DAY_MS) is not None
    assert not caplog.records


@pytest.mark.parametrize("state", [KeyState.ACTIVE, KeyState.VERIFY_ONLY])
def test_alarm_is_raised_once_when_somebody_else_published(
    team: Team, state: KeyState, caplog: pytest.LogCaptureFixture
) -> None:
    """After the keyring was read again; nothing is renewed. Peers believe a key that only verifies, too."""
    team.publish(NOW_MS)
    foreign = with_a_foreign_key(team, state)
    own = OwnKeysetWatch(team)
    for _ in range(3):
        assert own.consider(foreign, now_ms=NOW_MS + 5 * DAY_MS) is None
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "ALARM: keyset 2 of data-team lists keys that this keyring does not have" in record.message
    assert team.refreshed == 3


def test_alarm_reaches_the_hook_once_when_something_is_found(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    """Both kinds; with what is to be told, and nothing for what is one's own."""
    heard: list[KeyAlarm] = []
    own = OwnKeysetWatch(team, heard.append)
    own.consider(team.publish(NOW_MS), now_ms=NOW_MS)
    assert heard == []
    foreign = with_a_foreign_key(team)
    stranger = Team.create("data-team").publish(NOW_MS)
    for signed in (foreign, foreign, stranger, stranger):
        own.consider(signed, now_ms=NOW_MS)
    assert [alarm.kind for alarm in heard] == [KeyAlarmKind.UNKNOWN_KEYS, KeyAlarmKind.NOT_VOUCHED_FOR]
    assert (heard[0].namespace, heard[0].keyset_version, len(heard[0].key_ids)) == ("data-team", 2, 1)
    assert [record.message for record in caplog.records] == [alarm.message for alarm in heard]


def test_alarm_is_raised_when_a_revoked_key_comes_back(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    """By a later keyset than the one that revoked it; this process does not use it either."""
    heard: list[KeyAlarm] = []
    in_use = team.contents.keys
    (stolen,) = (key for key in in_use if key.record.kind is KeyKind.SIGNING)
    team.contents = revoke(team.contents, stolen.record.key_id)
    team.publish(NOW_MS)
    revived = replace(team.contents, keys=in_use)
    own = OwnKeysetWatch(team, heard.append)
    signed = sign_keyset(next_keyset(revived, now_ms=NOW_MS), revived, team.signer)
    assert own.consider(signed, now_ms=NOW_MS + 5 * DAY_MS) is None
    assert [alarm.kind for alarm in heard] == [KeyAlarmKind.KEYS_CAME_BACK]
    assert heard[0].key_ids == (stolen.record.key_id,)
    assert "ALARM: keyset 2 of data-team lists keys as in use that this keyring put out" in caplog.text
    assert team.followed is None


def test_nothing_fails_when_the_hook_does(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged beside the alarm."""

    def broken(alarm: KeyAlarm) -> None:
        raise RuntimeError(alarm.kind)

    own = OwnKeysetWatch(team, broken)
    assert own.consider(Team.create("data-team").publish(NOW_MS), now_ms=NOW_MS) is None
    assert ["ALARM" in record.message for record in caplog.records] == [True, False]
    assert caplog.records[1].exc_info is not None


def test_announced_keys_are_no_alarm_when_they_are_not_here_yet(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    """A rotation waits for this copy of the keyring; the log says what to do."""
    team.publish(NOW_MS)
    announced = with_a_foreign_key(team, KeyState.PRE_PUBLISHED)
    own = OwnKeysetWatch(team)
    for _ in range(3):
        assert own.consider(announced, now_ms=NOW_MS + 5 * DAY_MS) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "bring the newest keyring here" in record.message


def test_process_goes_by_its_keyset_when_it_is_ones_own(team: Team) -> None:
    """And not by one that another root vouches for."""
    own = OwnKeysetWatch(team)
    own.consider(Team.create("data-team").publish(NOW_MS), now_ms=NOW_MS)
    followed = [team.followed]
    own.consider(team.publish(NOW_MS), now_ms=NOW_MS)
    followed.append(team.followed)
    assert [keyset and keyset.version for keyset in followed] == [None, 1]


def test_alarm_is_raised_when_another_root_vouches(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    """The gateway shows others a keyset in this namespace's name."""
    stranger = Team.create("data-team")
    assert OwnKeysetWatch(team).consider(stranger.publish(NOW_MS), now_ms=NOW_MS) is None
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "ALARM" in record.message


def test_warning_is_given_when_the_root_has_to_delegate_anew(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    """Two weeks before everything stops; the keyset still lives on."""
    signed = team.publish(NOW_MS)
    assert OwnKeysetWatch(team).consider(signed, now_ms=NOW_MS + 80 * DAY_MS) is not None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "within 10 days" in record.message
    assert "keys delegate" in record.message


def test_log_says_that_it_is_tried_again_when_the_gateway_does_not_answer(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    """No word of ids to repeat: nobody started anything."""
    connection = SyncConnection(ChannelSettings(address="127.0.0.1:1"))
    look = BlockingLook(connection, team, KeyTimings())
    look.refresh()
    connection.close()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(
        "cannot look after the keyset of data-team, and tries again by itself: cannot reach"
    )
    assert said.endswith("; check the address and that the gateway runs")
