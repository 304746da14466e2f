"""When a process tells which keys it has: at first, when they change, before it is forgotten; else never."""

import os
from dataclasses import replace

import pytest
from tests.unit.client.teams import NOW_MS, Team

from isthmus.client.key_report import RETRY_SECONDS, KeyReport
from isthmus.keys.contents import new_key
from isthmus.keys.rotation import pre_publish
from isthmus.transport.errors import ConnectionLostError, UnsupportedError
from isthmus.v1 import key_service_pb2
from isthmus.wire.public_key import KeyKind, KeyState

ANSWER = key_service_pb2.ReportKeysResponse(lease_ms=300_000)


@pytest.fixture
def team() -> Team:
    """A team whose keyring changes."""
    return Team.create("data-team")


def test_process_reports_seldom_when_nothing_changes(team: Team) -> None:
    """Once at first, then three times a lease."""
    report = KeyReport(team)
    first = report.due(0.0)
    assert first is not None
    assert set(first.key_ids) == {bytes(key.record.key_id) for key in team.contents.keys}
    assert first.identity.endswith(f":{os.getpid()}")
    assert not first.leaving
    report.accepted(ANSWER, 0.0)
    assert report.due(99.0) is None
    again = report.due(100.0)
    assert again == first


def test_process_reports_at_once_when_its_keyring_changes(team: Team) -> None:
    """Keys of which it has only the public half are not among those that it has."""
    report = KeyReport(team)
    report.due(0.0)
    report.accepted(ANSWER, 0.0)
    added = new_key(KeyKind.SIGNING, state=KeyState.PRE_PUBLISHED, now_ms=NOW_MS)
    gone = replace(new_key(KeyKind.ENCRYPTION, state=KeyState.DESTROYED, now_ms=NOW_MS), secret=None)
    team.contents = replace(pre_publish(team.contents, added), keys=(*team.contents.keys, added, gone))
    changed = report.due(1.0)
    assert changed is not None
    assert bytes(added.record.key_id) in changed.key_ids
    assert bytes(gone.record.key_id) not in changed.key_ids
    assert report.due(1.0) is None


def test_report_is_repeated_when_it_did_not_arrive(team: Team) -> None:
    """After a while, not at once."""
    report = KeyReport(team)
    report.due(0.0)
    report.failed(ConnectionLostError("down"))
    assert report.due(RETRY_SECONDS - 1) is None
    assert report.due(RETRY_SECONDS) is not None


def test_nothing_is_reported_when_the_gateway_knows_no_reports(team: Team) -> None:
    """Not even that the process leaves."""
    report = KeyReport(team)
    report.due(0.0)
    report.failed(UnsupportedError("unknown method"))
    assert report.due(1e9) is None
    assert report.leaving() is None


def test_process_says_that_it_leaves_when_it_was_there(team: Team) -> None:
    """As the same holder; one that never reported leaves in silence."""
    report = KeyReport(team)
    assert report.leaving() is None
    first = report.due(0.0)
    leaving = report.leaving()
    assert first is not None
    assert leaving is not None
    assert leaving.leaving
    assert leaving.holder_id == first.holder_id


def test_forked_process_is_another_one_when_it_reports(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not leave in its parent's name either."""
    report = KeyReport(team)
    first = report.due(0.0)
    report.accepted(ANSWER, 0.0)
    monkeypatch.setattr("isthmus.transport.fork.os.getpid", lambda: -1)
    assert report.leaving() is None
    second = report.due(0.0)
    assert first is not None
    assert second is not None
    assert second.holder_id != first.holder_id
