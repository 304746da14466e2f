"""Two gateways on one PostgreSQL database, as processes: who changes from one to the other loses nothing."""

import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.acceptance.deployment.gateway import free_address
from tests.acceptance.deployment.process import RunningProcess
from tests.acceptance.deployment.two_teams import ENDPOINT, create_two_teams, second_site
from tests.acceptance.talk.steps import Walks
from tests.acceptance.talk.walkers import Walkers, connected
from tests.faults.tcp_proxy import FaultProxy

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]

STEPS = 4


def waiting_at(address: str) -> dict[str, float]:
    """Return what a gateway's metrics say that operations wait for."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {
        sample.labels["cause"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "isthmus_waiting_operations" and sample.value
    }


def test_operation_goes_on_when_worker_and_caller_change_gateways(
    tmp_path: Path, postgresql_dsn: str
) -> None:
    """Kill -9 of their gateway amid a step: the worker keeps its task, and the caller its wait."""
    store = f'[store]\ndsn = "{postgresql_dsn}"'
    teams = create_two_teams(tmp_path, more_config=store)
    first = teams.site.start()
    running: list[RunningProcess] = [first]
    try:
        teams.register(first)
        second_metrics = free_address()
        other = second_site(teams, f'{store}\n[metrics]\nenabled = true\naddress = "{second_metrics}"')
        walkers = Walkers(teams)
        with FaultProxy(teams.site.address) as network:
            walker = walkers.start(network.address)
            running.append(walker)
            with connected(teams, network.address) as client:
                walks = client.create_nexus_client(ENDPOINT, Walks)
                handle = walks.start_operation(Walks.walk, STEPS)
                walkers.wait_for(walker, "began", (1, 0))
                walker.say("go")
                walkers.wait_for(walker, "began", (1, 1))
                in_line = walks.start_operation(Walks.walk, 0)
                running.append(other.start_and_wait())
                with connected(teams, other.address) as elsewhere:
                    # The worker is at the first gateway; the second one knows of it.
                    told = elsewhere.get_operation_handle(in_line.operation_id).describe()
                    assert (told.waiting, told.waiting_reason[:15]) == ("fair_share", "1 worker polls ")
                    assert waiting_at(second_metrics) == {"fair_share": 1, "running": 1}
                network.point_to(other.address)
                first.kill()
                for step in range(1, STEPS):
                    walkers.wait_for(walker, "began", (1, step))
                    walker.say("go")
                result: Any = handle.result()
                assert result == list(range(STEPS))
                assert in_line.result() == []
        assert walkers.lines("did") == [(1, step) for step in range(STEPS)]
    finally:
        for process in running:
            process.kill()
