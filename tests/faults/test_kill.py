"""Gateway, workers and caller are killed at random moments; nothing acknowledged is lost or changed."""

import logging
import os
import random
import secrets
from pathlib import Path

import pytest
from tests.acceptance.deployment.two_teams import create_two_teams
from tests.faults.kill.rounds import KillRounds

ROUNDS = int(os.environ.get("ISTHMUS_KILL_ROUNDS", "50"))
# The shortest that a gateway accepts: what a killed worker held waits for it.
LEASE_SECONDS = 5
_SECONDS_PER_ROUND = 20

_LOG = logging.getLogger(__name__)


@pytest.fixture
def seed() -> int:
    """What decides who is killed when; ISTHMUS_KILL_SEED repeats a run as far as scheduling allows."""
    chosen = int(os.environ.get("ISTHMUS_KILL_SEED") or secrets.randbelow(2**32))
    _LOG.warning("ISTHMUS_KILL_SEED=%d ISTHMUS_KILL_ROUNDS=%d", chosen, ROUNDS)
    return chosen


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.timeout(300 + ROUNDS * _SECONDS_PER_ROUND)
def test_every_acknowledged_operation_ends_once_when_processes_are_killed(tmp_path: Path, seed: int) -> None:
    """Invariants 1 and 3: acknowledged means durable, and an outcome is recorded once."""
    deployment = create_two_teams(tmp_path, lease_seconds=LEASE_SECONDS, forked=True)
    rounds = KillRounds(deployment, random.Random(seed))  # noqa: S311 - repeatable on purpose
    try:
        for _ in range(ROUNDS):
            rounds.round()
        findings = rounds.finish()
    finally:
        rounds.stop()
    assert not findings, "\n".join(map(str, findings[:20]))
    assert sum(rounds.kills.values()) == ROUNDS
    assert len(rounds.caller_log().received) > ROUNDS
