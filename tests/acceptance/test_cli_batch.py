"""Many calls from one file, at the command line: killed, repeated, refused, late. Real processes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.cli_process import Answer, CommandLine, development, wait_for_line

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
        if input["rows"] < 0:
            raise nexusrpc.OperationError("no such month", state=nexusrpc.OperationErrorState.FAILED)
        return {"made": input["month"]}
"""
WORKER = ("worker", "run", "reports:ReportsHandler", "--task-queue", "reports", "--grace", "1s")
MAKE = ("call", "reports", "Reports", "make")
COUNT, WRONG = 30, 13


@pytest.fixture(scope="module")
def isthmus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A development gateway with an endpoint whose worker the tests run."""
    directory = tmp_path_factory.mktemp("batch") / "dev"
    with development(directory, demo_teams=False) as command_line:
        (directory / "reports.py").write_text(HANDLERS)
        created = command_line("endpoint", "create", "reports", "--allow", "data-team", profile="app-team")
        assert created.code == 0, created.err
        yield command_line


def months(prefix: str, count: int, **changed: int) -> str:
    """Return a line for each month; what changed has another number of rows."""
    names = [f"{prefix}-{number}" for number in range(1, count + 1)]
    return "".join(json.dumps({"month": name, "rows": changed.get(name, 1)}) + "\n" for name in names)


def answers(found: Answer) -> list[dict[str, Any]]:
    """Return the document of each line, by the place of its request."""
    return sorted((json.loads(line) for line in found.out.splitlines()), key=lambda each: each["line"])


def test_batch_is_done_once_when_it_is_killed_and_repeated(isthmus: CommandLine, tmp_path: Path) -> None:
    """The same ids attach: every request is one operation, and each has an answer of its own."""
    file = tmp_path / "months.jsonl"
    file.write_text(months("m", COUNT, **{f"m-{WRONG}": -1}))
    batch = (*MAKE, "--batch", str(file), "--id-field", "month")
    with isthmus.background(*batch) as killed:
        line = wait_for_line(killed, f"{COUNT} requests: {COUNT} running")
        # It says what the first one waits for.
        assert "no worker polls" in line
        killed.kill()
    detached = isthmus(*batch, "--detach")
    assert detached.code == 0, detached.err
    started = answers(detached)
    assert [(each["id"], each["state"]) for each in started] == [
        (f"m-{number}", "running") for number in range(1, COUNT + 1)
    ]
    with isthmus.background(*WORKER, profile="app-team") as worker:
        wait_for_line(worker, "polls task queue reports")
        waited = isthmus(*batch)
    assert waited.code == 1
    assert f"{COUNT} requests: {COUNT - 1} succeeded, 1 failed." in waited.err
    ended = answers(waited)
    assert [each["operation_id"] for each in ended] == [each["operation_id"] for each in started]
    assert all(each["attested"] for each in ended)
    wrong = ended.pop(WRONG - 1)
    assert (wrong["state"], wrong["error"]["message"]) == ("failed", "no such month")
    assert {each["state"] for each in ended} == {"succeeded"}
    assert all(each["result"] == {"made": each["id"]} for each in ended)
    events = isthmus("audit", "query", "--endpoint", "reports", "--type", "operation_started").json
    assert len(events) == COUNT


def test_answers_say_which_when_some_requests_are_refused_or_run_on(
    isthmus: CommandLine, tmp_path: Path
) -> None:
    """An id with another input conflicts, the rest runs; what is running when time is over says so."""
    first = isthmus(*MAKE, "--batch", "-", "--id-prefix", "p-", "--detach", stdin=months("q", 3))
    assert first.code == 0, first.err
    changed = months("q", 3, **{"q-2": 7})
    late = isthmus(*MAKE, "--batch", "-", "--id-prefix", "p-", "--timeout", "5s", stdin=changed)
    found = answers(late)
    assert [(each["id"], each["state"]) for each in found] == [
        ("p-1", "running"),
        ("p-2", "refused"),
        ("p-3", "running"),
    ]
    assert found[1]["operation_id"] is None
    assert found[1]["error"]["type"] == "ConflictError"
    # Two reasons: a mixture.
    assert late.code == 1
    same = isthmus(*MAKE, "--batch", "-", "--id-prefix", "p-", "--timeout", "5s", stdin=months("q", 3))
    assert same.code == 7
    conflicting = isthmus(*MAKE, "--batch", "-", "--id-prefix", "p-", "--detach", stdin=changed)
    assert conflicting.code == 5
    file = tmp_path / "one.jsonl"
    file.write_text(months("q", 1))
    table = isthmus("--output", "table", *MAKE, "--batch", str(file), "--id-prefix", "p-", "--detach")
    assert table.code == 0, table.err
    head, *_, row = (line for line in table.out.splitlines() if line.strip())
    assert head.split() == ["LINE", "ID", "OPERATION", "ID", "STATE", "ANSWER"]
    assert row.split() == ["1", "p-1", found[0]["operation_id"], "running", "-"]


@pytest.mark.parametrize(
    "options",
    [
        ("--batch", "-"),
        ("--batch", "-", "--id-prefix", "x-", "--set", "n=1"),
        ("--batch", "-", "--id-prefix", "x-", "--id", "y"),
        ("--id-prefix", "x-"),
    ],
)
def test_command_is_refused_when_its_options_contradict_each_other(
    isthmus: CommandLine, options: tuple[str, ...]
) -> None:
    """Before anything is sent."""
    refused = isthmus(*MAKE, *options, stdin=months("n", 1))
    assert (refused.code, refused.out) == (2, "")
