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
    ask: nexusrpc.Operation[dict, dict]


@service_handler(service=Loads)
class LoadsHandler:
    @sync_operation
    async def load(self, ctx, input: dict) -> dict:
        for row in range(1, 4):
            await current().progress({"row": row}).durable()
            while not pathlib.Path(f"go-{row}").exists():
                await asyncio.sleep(0.05)
        return {"rows": 3}

    @sync_operation
    async def ask(self, ctx, input: dict) -> dict:
        async for signal in current().signals():
            return {"name": signal.name, "value": signal.value}
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


def test_signal_reaches_the_handler_when_a_person_sends_it(isthmus: CommandLine) -> None:
    """`operation signal` is durable when it returns; after the end it is refused, with its exit code."""
    started = isthmus("call", "loads", "Loads", "ask", "--set", "n=1", "--detach")
    operation_id = started.json["operation_id"]
    sent = isthmus("operation", "signal", operation_id, "approve", "--set", "by=ada")
    assert (sent.code, sent.json) == (0, {"operation_id": operation_id, "signal": "approve"})
    assert isthmus("operation", "wait", operation_id).json["result"] == {
        "name": "approve",
        "value": {"by": "ada"},
    }
    late = isthmus("operation", "signal", operation_id, "approve")
    assert late.code == 5
    assert "ended" in late.err
    (event,) = isthmus("audit", "query", "--operation", operation_id, "--type", "signal_received").json
    assert event["number"] == 1
    assert "approve" not in str(event)
