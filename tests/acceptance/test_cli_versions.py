"""Versions of workers at the command line: a ramp, its rollback, a version that is missing."""

import json
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest
from tests.acceptance.cli_process import CommandLine, development, wait_for_line
from tests.acceptance.deployment.deadline import await_that

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]

HANDLERS = """
import nexusrpc
from nexusrpc.handler import service_handler, sync_operation


@nexusrpc.service
class Prices:
    quote: nexusrpc.Operation[dict, str]


@service_handler(service=Prices)
class PricesHandler:
    @sync_operation
    async def quote(self, ctx, input: dict) -> str:
        return "{version}"
"""
COUNT = 40


@pytest.fixture(scope="module")
def isthmus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A development gateway with an endpoint, and two releases of its handlers."""
    directory = tmp_path_factory.mktemp("versions") / "dev"
    with development(directory, demo_teams=False) as command_line:
        for version in ("v1", "v2"):
            (directory / f"prices_{version}.py").write_text(HANDLERS.replace("{version}", version))
        created = command_line("endpoint", "create", "prices", "--allow", "data-team", profile="app-team")
        assert created.code == 0, created.err
        yield command_line


@contextmanager
def worker(isthmus: CommandLine, version: str) -> Generator[None]:
    """Serve the queue with the handlers of a version for the length of the block."""
    serving = ("worker", "run", f"prices_{version}:PricesHandler", "--task-queue", "prices")
    with isthmus.background(*serving, "--version", version, "--grace", "1s", profile="app-team") as process:
        wait_for_line(process, "polls task queue prices")
        yield


def update(isthmus: CommandLine, *options: str) -> None:
    """Change what the endpoint says of versions."""
    updated = isthmus("endpoint", "update", "prices", *options, profile="app-team")
    assert updated.code == 0, updated.err


def sessions(isthmus: CommandLine) -> dict[str, int]:
    """Return how many workers of each version are connected."""
    present = isthmus("endpoint", "describe", "prices", profile="app-team").json
    return {each["version"]: each["sessions"] for each in present["worker_versions"]}


def answered(isthmus: CommandLine, name: str) -> dict[str, str]:
    """Call many times; return by the id of each which version answered."""
    requests = "".join(json.dumps({"n": number}) + "\n" for number in range(COUNT))
    batch = ("--batch", "-", "--id-prefix", f"{name}-")
    called = isthmus("call", "prices", "Prices", "quote", *batch, stdin=requests)
    assert called.code == 0, called.err
    found = [json.loads(line) for line in called.out.splitlines()]
    return {each["id"]: each["result"] for each in found}


def test_operations_follow_the_ramp_when_two_versions_run(isthmus: CommandLine) -> None:
    """Nothing to a new version at 0, both in between, everything at 100, nothing after the rollback."""
    update(isthmus, "--ramp", "v2=0")
    with worker(isthmus, "v1"), worker(isthmus, "v2"):
        # A worker says that it polls when it begins to connect.
        await_that(lambda: sessions(isthmus) == {"v1": 1, "v2": 1}, "both workers are there", seconds=30)
        assert set(answered(isthmus, "none").values()) == {"v1"}
        update(isthmus, "--ramp", "v2=50")
        half = Counter(answered(isthmus, "half").values())
        # Fewer than four of forty: once in a hundred million.
        assert min(half["v1"], half["v2"]) >= 4
        update(isthmus, "--ramp", "v2=100")
        assert set(answered(isthmus, "all").values()) == {"v2"}
        update(isthmus, "--ramp", "v2=0")
        assert set(answered(isthmus, "back").values()) == {"v1"}


def test_operation_says_which_version_is_missing_when_nobody_runs_it(isthmus: CommandLine) -> None:
    """It waits for that version, or for the ramp to change, which applies to it at once."""
    update(isthmus, "--ramp", "v2=100")
    with worker(isthmus, "v1"):
        call = ("call", "prices", "Prices", "quote", "--set", "n=1", "--id", "missing")
        operation_id = isthmus(*call, "--detach").json["operation_id"]
        told = isthmus("operation", "why", operation_id).json
        assert told["waiting"] == "no_poller"
        assert "no worker of version v2 polls" in told["sentence"]
        update(isthmus, "--no-ramp")
        assert isthmus(*call).json["result"] == "v1"
