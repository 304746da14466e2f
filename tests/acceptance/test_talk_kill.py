"""A handler goes on where it was, and hears what was said to it, whoever is killed."""

from pathlib import Path
from typing import Any

from tests.acceptance.deployment.process import RunningProcess
from tests.acceptance.deployment.two_teams import ENDPOINT, create_two_teams
from tests.acceptance.talk.steps import STEPS, Walks
from tests.acceptance.talk.walkers import Walkers, connected

LEASE_SECONDS = 5


def test_steps_are_not_run_again_when_their_worker_is_killed(tmp_path: Path) -> None:
    """Kill -9 in the middle of the fifth step, and of the gateway: only the fifth is begun again."""
    teams = create_two_teams(tmp_path, lease_seconds=LEASE_SECONDS)
    gateway = teams.site.start()
    walkers = Walkers(teams)
    running: list[RunningProcess] = [gateway]
    try:
        teams.register(gateway)
        walker = walkers.start()
        running.append(walker)
        with connected(teams) as client:
            handle = client.create_nexus_client(ENDPOINT, Walks).start_operation(Walks.walk, STEPS)
            for step in range(4):
                walkers.wait_for(walker, "began", (1, step))
                walker.say("go")
            walkers.wait_for(walker, "began", (1, 4))
            assert "last heartbeat" in handle.describe().waiting_reason
            walker.kill()
            gateway.kill()
            running.append(teams.site.start())
            second = walkers.start()
            running.append(second)
            walkers.wait_for(second, "began", (2, 4))
            assert handle.describe().last_heartbeat_at is None
            for _ in range(STEPS - 4):
                second.say("go")
            result: Any = handle.result()
        assert result == list(range(STEPS))
        assert [step for _, step in walkers.lines("did")] == list(range(STEPS))
        assert walkers.lines("did")[:5] == [(1, 0), (1, 1), (1, 2), (1, 3), (2, 4)]
    finally:
        for process in running:
            process.kill()


def test_signals_are_heard_again_when_worker_and_gateway_are_killed(tmp_path: Path) -> None:
    """Acknowledged signals outlive both processes; those that are sent meanwhile follow, all in order."""
    teams = create_two_teams(tmp_path, lease_seconds=LEASE_SECONDS)
    gateway = teams.site.start()
    walkers = Walkers(teams)
    running: list[RunningProcess] = [gateway]
    try:
        teams.register(gateway)
        walker = walkers.start()
        running.append(walker)
        with connected(teams) as client:
            handle = client.create_nexus_client(ENDPOINT, Walks).start_operation(Walks.follow, 4)
            for step in (0, 1):
                handle.signal("step", step)
                walkers.wait_for(walker, "heard", (1, step))
            walker.kill()
            handle.signal("step", 2)
            gateway.kill()
            running.append(teams.site.start())
            second = walkers.start()
            running.append(second)
            walkers.wait_for(second, "heard", (2, 2))
            handle.signal("step", 3)
            result: Any = handle.result()
        assert result == [0, 1, 2, 3]
        assert walkers.lines("heard") == [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (2, 3)]
    finally:
        for process in running:
            process.kill()
