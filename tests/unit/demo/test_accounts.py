"""The join of three accounts: it must notice what is wrong."""

from dataclasses import replace
from typing import Any

import pytest

from isthmus.demo.accounts import Accounts, draw_up_accounts
from isthmus.demo.audit_trail import AuditTrail
from isthmus.demo.preparation import digest_rows
from isthmus.demo.services import Batch

BATCHES = [Batch(number=number, rows=[{"name": f"row {number}"}]) for number in (1, 2)]


def told() -> tuple[list[dict[str, Any]], list[dict[str, Any]], AuditTrail]:
    """Return what the three tell when all is well, the second batch delivered twice."""
    calls: list[dict[str, Any]] = []
    work: list[dict[str, Any]] = []
    for batch in BATCHES:
        same = {"operation_id": f"op-{batch.number}", "batch": batch.number}
        digest = digest_rows(batch.rows)
        report = {
            "digest": digest,
            "groups": {"x": 1},
            "hubs": {},
            "distance_km": 0.0,
            "unknown_timezones": 0,
        }
        calls += [{"event": "started", **same}, {"event": "result", "report": report, **same}]
        work += [{"event": "begun", **same}, {"event": "done", "digest": digest, **same}]
    work.append({"event": "begun", "operation_id": "op-2", "batch": 2})
    trail = AuditTrail(
        started={"op-1": "routes", "op-2": "routes", "op-3": "datasets"},
        deliveries={"op-1": 1, "op-2": 2, "op-3": 1},
        endings={"op-1": ("succeeded",), "op-2": ("succeeded",), "op-3": ("succeeded",)},
        events=10,
    )
    return calls, work, trail


def join(calls: list[dict[str, Any]], work: list[dict[str, Any]], trail: AuditTrail) -> Accounts:
    """Draw up the accounts of the two batches."""
    return draw_up_accounts(calls, work, trail, BATCHES)


def test_accounts_are_sound_when_all_three_agree() -> None:
    """A redelivery is no fault."""
    accounts = join(*told())
    assert accounts.sound
    assert (accounts.redeliveries, accounts.handler_runs, accounts.answered_back) == (1, 3, 1)


def test_accounts_are_unsound_when_a_result_is_missing() -> None:
    """Lost."""
    calls, work, trail = told()
    accounts = join(calls[:-1], work, trail)
    assert (accounts.sound, accounts.lost) == (False, 1)


def test_accounts_are_unsound_when_the_gateway_recorded_two_endings() -> None:
    """An outcome is recorded once."""
    calls, work, trail = told()
    twice = replace(trail, endings=trail.endings | {"op-1": ("succeeded", "failed")})
    accounts = join(calls, work, twice)
    assert (accounts.sound, accounts.repeated) == (False, 1)


def test_accounts_are_unsound_when_the_gateway_knows_another_operation() -> None:
    """A start that nobody made, or made twice."""
    calls, work, trail = told()
    more = replace(trail, started=trail.started | {"op-9": "routes"})
    assert join(calls, work, more).repeated == 1


@pytest.mark.parametrize("who", ["caller", "handler"])
def test_accounts_are_unsound_when_the_rows_differ(who: str) -> None:
    """What was worked on is what was sent."""
    calls, work, trail = told()
    if who == "caller":
        calls[1]["report"]["digest"] = "0" * 64
    else:
        work[1]["digest"] = "0" * 64
    accounts = join(calls, work, trail)
    assert (accounts.sound, accounts.altered) == (False, 1)


def test_accounts_are_unsound_when_the_answer_back_is_missing() -> None:
    """The other direction counts too."""
    calls, work, trail = told()
    assert not join(calls, work, replace(trail, started={"op-1": "routes", "op-2": "routes"})).sound
