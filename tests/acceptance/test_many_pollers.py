"""Thousands of pollers: memory stays within bounds, and each task goes to one of them."""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.acceptance.deployment.deadline import await_that
from tests.acceptance.deployment.process import RunningProcess
from tests.acceptance.deployment.two_teams import ENDPOINT, create_two_teams
from tests.acceptance.large.files import peak_bytes
from tests.faults.kill.durable_lines import read_journal
from tests.faults.kill.jobs import Job, Jobs

from isthmus.client import SyncClient

POLLERS = int(os.environ.get("ISTHMUS_POLLERS", "2000"))
JOBS = 200
# Stream, session, queue entry and buffers of one poller in the gateway; 41 to 44 kB are used.
MOST_BYTES_PER_POLLER = 80_000
SECONDS = 300


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(3 * SECONDS)
def test_every_task_goes_to_one_poller_when_thousands_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when all of them die at once, a worker that comes then gets everything."""
    deployment = create_two_teams(tmp_path, lease_seconds=30)
    gateway = deployment.site.start()
    running = [gateway]
    try:
        deployment.register(gateway)
        before = peak_bytes(gateway.pid)
        pollers = deployment.start(
            deployment.handler, "tests.acceptance.pollers.pollers_program", str(POLLERS), name="pollers"
        )
        running.append(pollers)
        await_that(lambda: "ready" in facts(pollers), "all pollers wait", seconds=SECONDS)
        for name, value in deployment.caller.environment(deployment.site.address).items():
            monkeypatch.setenv(name, value)
        with SyncClient.connect() as client:
            jobs = client.create_nexus_client(ENDPOINT, Jobs)
            handles = [
                jobs.start_operation(Jobs.run, Job(number=number), id=f"job-{number}")
                for number in range(100, 100 + JOBS)
            ]
            await_that(lambda: len(tasks(pollers)) >= JOBS, "every task is with a poller", seconds=SECONDS)
            assert Counter(tasks(pollers)) == Counter(handle.operation_id for handle in handles)
            used = peak_bytes(gateway.pid) - before
            sys.stdout.write(f"{POLLERS} pollers: {used / POLLERS:.0f} bytes each in the gateway\n")
            assert used < POLLERS * MOST_BYTES_PER_POLLER
            pollers.kill()
            worker = deployment.start(
                deployment.handler,
                "tests.faults.kill.worker_program",
                str(tmp_path / "ledger"),
                name="worker",
            )
            running.append(worker)
            ledger = tmp_path / "ledger"
            await_that(lambda: len(read_journal(ledger)) >= JOBS, "every job ran", seconds=SECONDS)
    finally:
        for process in running:
            process.kill()


def facts(pollers: RunningProcess) -> list[str]:
    """Return what the pollers said so far."""
    assert pollers.exit_code is None, pollers.tail()
    return pollers.output.read_text(encoding="utf-8", errors="replace").splitlines()


def tasks(pollers: RunningProcess) -> list[str]:
    """Return the operations whose tasks came to a poller."""
    return [line.removeprefix("task ") for line in facts(pollers) if line.startswith("task ")]
