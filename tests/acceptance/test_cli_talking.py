"""What a person at a terminal hears of a running operation, and says to it. Real processes."""

import json
from collections.abc import Iterator

import pytest
from tests.acceptance.cli_process import CommandLine, development, wait_for_line

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]

HANDLERS = """
import asyncio
import pathlib

import nexusrpc
from nexusrpc.handler import service_handler, sync_operation
from isthmus.worker import current


@nexusrpc.service
class Loads:
    load: nexusrpc.Operation[dict, dict]


@service_handler(service=Loads)
class LoadsHandler:
    @sync_operation
    async def load(self, ctx, input: dict) -> dict:
        for row in range(1, 4):
            await current().progress({"row": row}).durable()
            while not pathlib.Path(f"go-{row}").exists():
                await asyncio.sleep(0.05)
        return {"rows": 3}
"""


@pytest.fixture(scope="module")
def isthmus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A development gateway with an endpoint, and a worker that serves it."""
    directory = tmp_path_factory.mktemp("talking") / "dev"
    with development(directory, demo_teams=False) as command_line:
        (directory / "loads.py").write_text(HANDLERS)
        created = command_line("endpoint", "create", "loads", "--allow", "data-team", profile="app-team")
        assert created.code == 0, created.err
        serving = ("worker", "run", "loads:LoadsHandler", "--task-queue", "loads", "--grace", "1s")
        with command_line.background(*serving, profile="app-team") as worker:
            wait_for_line(worker, "polls task queue loads")
            yield command_line


def test_progress_is_shown_when_somebody_waits_and_when_somebody_watches(isthmus: CommandLine) -> None:
    """`call --wait` shows the latest, `operation watch` prints each as a line, until the operation ends."""
    with isthmus.background("call", "loads", "Loads", "load", "--set", "n=1", "--id", "watched") as calling:
        line = wait_for_line(calling, '{"row": 1}')
        operation_id = line.split()[0]
        with isthmus.background("operation", "watch", operation_id) as watching:
            assert watching.stdout is not None
            for row in (1, 2, 3):
                assert json.loads(watching.stdout.readline()) == {"row": row}
                (isthmus.directory / f"go-{row}").touch()
            assert watching.stdout.readline() == ""
            assert watching.wait(timeout=30) == 0
        assert calling.wait(timeout=30) == 0
        assert calling.stdout is not None
        assert json.loads(calling.stdout.read())["result"] == {"rows": 3}
    described = isthmus("operation", "describe", operation_id).json
    assert described["state"] == "succeeded"
