"""Real processes under every fault that we know; then their history is checked."""

import logging
import os
import secrets
from pathlib import Path

import pytest
from tests.faults.run import STORES, run

SECONDS = float(os.environ.get("ISTHMUS_FAULT_SECONDS", "60"))
_LOG = logging.getLogger(__name__)


@pytest.fixture
def seed() -> int:
    """What decides which fault comes when; ISTHMUS_FAULT_SEED repeats a run as far as scheduling allows."""
    chosen = int(os.environ.get("ISTHMUS_FAULT_SEED") or secrets.randbelow(2**32))
    _LOG.warning("ISTHMUS_FAULT_SEED=%d ISTHMUS_FAULT_SECONDS=%g", chosen, SECONDS)
    return chosen


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.timeout(600 + 2 * SECONDS)
@pytest.mark.parametrize("store", STORES)
def test_every_promise_is_kept_when_faults_come_alone_and_in_pairs(
    tmp_path: Path, store: str, seed: int
) -> None:
    """Nothing lost, changed, stuck, early, late, passed over, or signaled in vain."""
    report = run(tmp_path, store, seed=seed, seconds=SECONDS)
    _LOG.info("%s", report)
    assert not report.findings, "\n".join(map(str, report.findings[:20]))
    assert report.faults
    assert report.timed_out
