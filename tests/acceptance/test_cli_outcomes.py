"""How outcomes reach callers at the command line: processes of their own, a development gateway."""

from collections.abc import Iterator

import pytest
from tests.acceptance.cli_process import CommandLine, development, wait_for_line

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]

HANDLERS = """
import nexusrpc
from nexusrpc.handler import service_handler, sync_operation


@nexusrpc.service
class Reports:
    make: nexusrpc.Operation[dict, dict]


@service_handler(service=Reports)
class ReportsHandler:
    @sync_operation
    async def make(self, ctx, input: dict) -> dict:
        return {"made": input["n"]}
"""
WORKER = ("worker", "run", "reports:ReportsHandler", "--task-queue", "reports", "--grace", "1s")


@pytest.fixture(scope="module")
def isthmus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A development gateway with an endpoint whose worker the tests run."""
    directory = tmp_path_factory.mktemp("outcomes") / "dev"
    with development(directory, demo_teams=False) as command_line:
        (directory / "reports.py").write_text(HANDLERS)
        created = command_line("endpoint", "create", "reports", "--allow", "data-team", profile="app-team")
        assert created.code == 0, created.err
        yield command_line


def start(isthmus: CommandLine, number: int) -> str:
    """Start an operation and return its id."""
    started = isthmus("call", "reports", "Reports", "make", "--set", f"n={number}", "--detach")
    assert started.code == 0, started.err
    operation_id: str = started.json["operation_id"]
    return operation_id


def test_status_of_many_is_told_when_some_run_and_then_all_ended(isthmus: CommandLine) -> None:
    """Scripts poll it by its exit code; ids come as arguments or from a pipe."""
    ids = [start(isthmus, number) for number in (1, 2)]
    running = isthmus("operation", "status", *ids)
    assert (running.code, [entry["status"] for entry in running.json]) == (7, ["running"] * 2)
    with isthmus.background(*WORKER, profile="app-team") as process:
        wait_for_line(process, "polls task queue reports")
        for operation_id in ids:
            assert isthmus("operation", "wait", operation_id).code == 0
    ended = isthmus("operation", "status", "-", stdin="\n".join(ids))
    assert ended.code == 0
    assert [(entry["operation_id"], entry["status"], entry["attested"]) for entry in ended.json] == [
        (operation_id, "succeeded", True) for operation_id in ids
    ]
    foreign = isthmus("operation", "status", ids[0], profile="app-team")
    assert [entry["status"] for entry in foreign.json] == ["unknown"]
