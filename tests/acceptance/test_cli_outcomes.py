"""How outcomes reach callers at the command line: processes of their own, a development gateway."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

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
CALL = ("call", "reports", "Reports", "make")
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
    started = isthmus(*CALL, "--set", f"n={number}", "--detach")
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


def test_start_waits_for_its_time_when_it_is_put_off(isthmus: CommandLine) -> None:
    """A worker is there and does not get it before; a cancel before its time ends it at once."""
    with isthmus.background(*WORKER, profile="app-team") as process:
        wait_for_line(process, "polls task queue reports")
        far = isthmus(*CALL, "--set", "n=7", "--start-at", "2h", "--detach").json["operation_id"]
        told = isthmus("operation", "why", far).json
        assert told["waiting"] == "start_at"
        assert "its caller wants it to start at" in told["sentence"]
        begun, until = (datetime.fromisoformat(told[name]) for name in ("waiting_since", "waiting_until"))
        assert timedelta(hours=1, minutes=59) < until - begun <= timedelta(hours=2)
        before = datetime.now(UTC)
        soon = isthmus(*CALL, "--set", "n=8", "--start-at", "3s", "--id", "soon")
        assert (soon.code, soon.json["result"]) == (0, {"made": 8})
        shown = isthmus("operation", "describe", soon.json["operation_id"]).json
        assert datetime.fromisoformat(shown["closed_at"]) >= before + timedelta(seconds=3)
        # The id is used: it attaches, whatever its time says now.
        again = isthmus(*CALL, "--set", "n=8", "--start-at", "5h", "--id", "soon")
        assert again.json == soon.json
    assert isthmus("operation", "cancel", far).code == 0
    ended = isthmus("operation", "wait", far)
    assert (ended.code, ended.json["state"], ended.json["attested"]) == (1, "canceled", False)
    assert isthmus("audit", "query", "--operation", far, "--type", "task_dispatched").json == []
    late = isthmus(*CALL, "--set", "n=9", "--start-at", "25h", "--detach")
    assert late.code == 2
    assert "schedule_to_close" in late.err or "schedule-to-close" in late.err


def follow(isthmus: CommandLine, cursor: str, *options: str) -> list[dict[str, Any]]:
    """Return the events behind a cursor."""
    followed = isthmus("event", "follow", cursor, "--endpoint", "reports", "--no-wait", *options)
    assert followed.code == 0, followed.err
    return [json.loads(line) for line in followed.out.splitlines()]


def test_event_is_read_once_when_it_is_published_twice(isthmus: CommandLine) -> None:
    """Sealed for each reader; it comes again until it is acknowledged, and to nobody who may not call."""
    assert follow(isthmus, "loader") == []
    publish = ("event", "publish", "reports", "batch-ready", "--set", "day=monday", "--set", "rows=42")
    first, again = (isthmus(*publish, "--id", "monday", profile="app-team") for _ in range(2))
    assert first.code == 0, first.err
    assert first.json["readers"] == ["data-team"]
    assert again.json["event_id"] == first.json["event_id"]
    (seen,) = follow(isthmus, "loader", "--no-acknowledge")
    assert (seen["event_id"], seen["name"], seen["error"]) == (first.json["event_id"], "batch-ready", "")
    assert (seen["endpoint"], seen["publisher_namespace"]) == ("reports", "app-team")
    assert seen["value"] == {"day": "monday", "rows": 42}
    assert follow(isthmus, "loader") == [seen]
    assert follow(isthmus, "loader") == []
    # Somebody waits for the next one.
    following = ("event", "follow", "loader", "--endpoint", "reports", "--count", "1")
    with isthmus.background(*following) as waiting:
        value = ("event", "publish", "reports", "batch-ready", "-i", "-")
        published = isthmus(*value, profile="app-team", stdin="[7]")
        assert published.code == 0, published.err
        assert waiting.stdout is not None
        assert json.loads(waiting.stdout.readline())["value"] == [7]
        assert waiting.wait(timeout=30) == 0
    # It is not its endpoint: not the owner.
    assert isthmus(*publish, "--id", "tuesday").code == 3
    log = isthmus("audit", "query", "--endpoint", "reports", "--type", "event_published", profile="app-team")
    assert len(log.json) == 2
    assert "monday" not in log.out


def test_event_is_not_read_when_another_namespace_is_meant(isthmus: CommandLine) -> None:
    """Who is not on the allow list cannot be a reader."""
    value = ("event", "publish", "reports", "batch-ready", "--set", "n=1")
    refused = isthmus(*value, "--reader", "web-team", profile="app-team")
    assert refused.code != 0
    assert refused.out == ""
