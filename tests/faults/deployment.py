"""What runs in a fault test: gateways on one store, workers, three calling teams, two bad networks.

Callers and workers are at all gateways. A network is a fault proxy before each gateway: so a gateway that
moves is found again, another one can stand in for it, and a network can fail for the ones and not for the
others.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.acceptance.deployment.deadline import OverdueError, await_that
from tests.acceptance.deployment.gateway import create_endpoint, create_site, move_site, register
from tests.acceptance.deployment.process import RunningProcess
from tests.acceptance.deployment.team import PLATFORM, Team, create_team
from tests.acceptance.deployment.two_teams import ENDPOINT, TASK_QUEUE
from tests.faults.gateway_program import CLOCK_FILE
from tests.faults.stores import StoreUnderTest
from tests.faults.tcp_proxy import FaultProxy

LANES: Mapping[str, int] = {"data-team": 10, "web-team": 10, "quiet-team": 1}
"""Calling teams, and how many calls each has under way at most: two fill the queue, one is quiet."""
HANDLER = "app-team"
WORKERS = 2
# The shortest that a gateway accepts: what a killed worker held waits for it.
LEASE_SECONDS = 5
START_SECONDS = 60.0
KEY_FILE = "statement-key.pem"
# Channels of one process share their connections otherwise.
_UNSHARED = ("grpc.use_local_subchannel_pool", 1)

_GATEWAY = "tests.faults.gateway_program"
_CALLER = "tests.faults.caller_program"
_WORKER = "tests.faults.worker_program"


class FaultDeployment:
    """Processes that can be killed and started again, and everything that survives them."""

    def __init__(self, folder: Path, store: StoreUnderTest) -> None:
        self.folder = folder
        self.store = store
        self._platform = create_team(folder, PLATFORM)
        self._handler = create_team(folder, HANDLER)
        self._callers = {name: create_team(folder, name) for name in LANES}
        for team in self._callers.values():
            team.pin(self._handler, ENDPOINT)
            self._handler.pin(team)
        teams = [self._platform, self._handler, *self._callers.values()]
        self._sites = [
            create_site(
                folder / f"gateway-{number}",
                teams,
                lease_seconds=LEASE_SECONDS,
                more_config=store.config(),
                forked=True,
            )
            for number in range(store.gateways)
        ]
        self.gateways: list[RunningProcess] = []
        self.workers: list[RunningProcess] = []
        self.callers: dict[str, RunningProcess] = {}
        self.caller_network = [FaultProxy(site.address) for site in self._sites]
        self.worker_network = [FaultProxy(site.address) for site in self._sites]
        # Gateways for which another one stands in.
        self._away: set[int] = set()

    def start(self) -> None:
        """Start everything, in order."""
        for proxy in (*self.caller_network, *self.worker_network):
            proxy.__enter__()
        for number in range(len(self._sites)):
            if number > 0:
                self._share_key(number)
            self.gateways.append(self._start_gateway(number))
            self.await_serving(number)
        callers = list(self._callers.values())
        register(self._sites[0], platform=self._platform, teams=[self._handler, *callers])
        create_endpoint(self._sites[0], self._handler, ENDPOINT, task_queue=TASK_QUEUE, callers=callers)
        for number in range(WORKERS):
            self.workers.append(self._start_worker(number))
        for name in LANES:
            self.callers[name] = self._start_caller(name)

    def stop(self) -> None:
        """Kill whatever runs."""
        for process in self.processes():
            process.kill()
        for proxy in (*self.caller_network, *self.worker_network):
            proxy.__exit__(None, None, None)

    def processes(self) -> list[RunningProcess]:
        """Return everything that runs, or should."""
        return [*self.gateways, *self.workers, *self.callers.values()]

    def fail_over(self, number: int) -> None:
        """Let whoever connects to a gateway get to the next one until it was started again."""
        self._away.add(number)
        self._lead(number, self._stand_in(number))

    def failed_over(self, number: int) -> int:
        """Return how many connections that belong to a gateway are at the one that stands in for it."""
        address = self._sites[self._stand_in(number)].address
        return sum(proxy.connections_to(address) for proxy in self._proxies(number))

    def restart_gateway(self, number: int, *, elsewhere: bool = False) -> None:
        """Start a gateway again that was killed, and return when it serves.

        One that ends because its database goes away while it starts is started again, as whatever
        supervises it would do. Connections that another one took over meanwhile stay there.
        """
        if elsewhere:
            self._sites[number] = move_site(self._sites[number])
            if number not in self._away:
                self._lead(number, number)
        self.gateways[number] = self._start_gateway(number)
        self.await_serving(number, supervised=True)
        if number in self._away:
            self._away.discard(number)
            self._lead(number, number)

    def restart_worker(self, number: int) -> None:
        """Start a worker again that was killed."""
        self.workers[number] = self._start_worker(number)

    def restart_caller(self, name: str) -> None:
        """Start a caller again that was killed."""
        self.callers[name] = self._start_caller(name)

    def verify(self, name: str) -> RunningProcess:
        """Start a process that asks once more how every operation of a caller ended."""
        return self._start_caller(name, "--verify")

    def await_serving(self, number: int, *, supervised: bool = False) -> None:
        """Return when a gateway says that it serves; a supervised one is started again if it ended.

        Raises:
            AssertionError: it does not serve in time.
        """

        def is_serving() -> bool:
            # A connection of its own each time. Who starts a database as another user forks this process,
            # and gRPC may lose a connection then that is being made: it stays open, and nobody reads.
            with grpc.insecure_channel(self._sites[number].address, [_UNSHARED]) as channel:
                # Made when it is constructed; the stub's class does not say so.
                check: Any = health_pb2_grpc.HealthStub(channel).Check  # pyright: ignore[reportAttributeAccessIssue]
                try:
                    answer = check(health_pb2.HealthCheckRequest(), timeout=1.0, wait_for_ready=True)
                except grpc.RpcError:
                    if supervised and self.gateways[number].exit_code:
                        self.gateways[number] = self._start_gateway(number)
                    return False
                return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        try:
            await_that(is_serving, f"gateway {number} serves", seconds=START_SECONDS)
        except OverdueError as error:
            raise AssertionError(f"{error}\n{self.gateways[number].tail()}") from error

    def clock_file(self, number: int) -> Path:
        """Return the file that moves the clock of the machine of a gateway."""
        return self._sites[number].folder / CLOCK_FILE

    def journal(self, name: str) -> Path:
        """Return where a caller writes down what it is told."""
        return self.folder / f"{name}.jsonl"

    def ledgers(self) -> list[Path]:
        """Return where the handlers write down what they do."""
        return [self.folder / f"ledger-{number}.jsonl" for number in range(WORKERS)]

    def _share_key(self, number: int) -> None:
        """Give a gateway the key of the first one: all of a database sign statements with the same."""
        first, other = (self._sites[each].database.parent for each in (0, number))
        other.mkdir(mode=0o700)
        shutil.copy(first / KEY_FILE, other / KEY_FILE)

    def _stand_in(self, number: int) -> int:
        return (number + 1) % len(self._sites)

    def _proxies(self, number: int) -> tuple[FaultProxy, FaultProxy]:
        return self.caller_network[number], self.worker_network[number]

    def _lead(self, number: int, target: int) -> None:
        """Let what belongs to a gateway connect to that one, or to another."""
        for proxy in self._proxies(number):
            proxy.point_to(self._sites[target].address)

    def _start_gateway(self, number: int) -> RunningProcess:
        return self._sites[number].start(program=_GATEWAY)

    def _start_worker(self, number: int) -> RunningProcess:
        # One of them answers everything two times, always.
        options = ["--answer-twice"] if number == 0 else []
        module = [_WORKER, str(self.ledgers()[number]), *options]
        return self._start(self._handler, _way(self.worker_network, number), module, f"worker-{number}")

    def _start_caller(self, name: str, *options: str) -> RunningProcess:
        module = [_CALLER, str(self.journal(name)), "--lanes", str(LANES[name]), *options]
        network = _way(self.caller_network, list(LANES).index(name))
        return self._start(self._callers[name], network, module, name)

    def _start(self, team: Team, network: FaultProxy, module: list[str], name: str) -> RunningProcess:
        return RunningProcess(
            name,
            module,
            environment=team.environment(network.address),
            output=self.folder / f"{name}.log",
            forked=True,
        )


def _way(network: list[FaultProxy], number: int) -> FaultProxy:
    """Return how the caller, or the worker, with this number gets to its gateway: they are at all of them."""
    return network[number % len(network)]
