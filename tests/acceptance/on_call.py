"""What the tests of those on call share: an endpoint for each kind of trouble, and the question why."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.cli_process import CommandLine, development, wait_for_line
from tests.forking import ForkedModule

HANDLERS = """
import pathlib
import time

import nexusrpc
from nexusrpc.handler import (
    OperationHandler,
    StartOperationResultAsync,
    operation_handler,
    service_handler,
    sync_operation,
)


@nexusrpc.service
class Batches:
    flaky: nexusrpc.Operation[dict, dict]
    slow: nexusrpc.Operation[dict, dict]
    later: nexusrpc.Operation[dict, dict]


class Later(OperationHandler):
    async def start(self, ctx, input):
        return StartOperationResultAsync(token=ctx.request_id)

    async def cancel(self, ctx, token):
        pass


@service_handler(service=Batches)
class BatchesHandler:
    @sync_operation
    async def flaky(self, ctx, input: dict) -> dict:
        if not pathlib.Path("mended").exists():
            raise nexusrpc.HandlerError("no database", type=nexusrpc.HandlerErrorType.UNAVAILABLE)
        return {"done": True}

    @sync_operation
    def slow(self, ctx, input: dict) -> dict:
        pathlib.Path("begun").touch()
        while not ctx.task_cancellation.is_cancelled():
            time.sleep(0.05)
        pathlib.Path("interrupted").touch()
        return {}

    @operation_handler
    def later(self) -> OperationHandler[dict, dict]:
        return Later()
"""

# What waits for its next attempt still does when the next question comes.
LONG_WAITS = ("--first-wait", "1h", "--longest-wait", "1h")


@contextmanager
def on_call(directory: Path) -> Generator[CommandLine]:
    """A development gateway with an endpoint that parks at once, and others that try again after a while."""
    with development(directory, demo_teams=False) as command_line:
        (directory / "batches.py").write_text(HANDLERS)
        for name, *options in (
            ("batches", "--max-attempts", "1"),
            ("patient", *LONG_WAITS),
            ("strict", *LONG_WAITS),
            ("brittle", "--circuit-failures", "1", "--circuit-time", "1h"),
        ):
            created = command_line(
                "endpoint",
                "create",
                name,
                "--allow",
                "data-team",
                *options,
                profile="app-team",
            )
            assert created.code == 0, created.err
        yield command_line


@contextmanager
def worker(isthmus: CommandLine, task_queue: str, *options: str) -> Generator[ForkedModule]:
    """Serve a queue for the length of the block."""
    serving = (
        "worker",
        "run",
        "batches:BatchesHandler",
        "--task-queue",
        task_queue,
        "--grace",
        "1s",
        *options,
    )
    with isthmus.background(*serving, profile="app-team") as process:
        wait_for_line(process, f"polls task queue {task_queue}")
        yield process


def start(isthmus: CommandLine, endpoint: str, operation: str, *options: str) -> str:
    """Start an operation and return its id."""
    started = isthmus("call", endpoint, "Batches", operation, "--set", "n=1", "--detach", *options)
    assert started.code == 0, started.err
    operation_id: str = started.json["operation_id"]
    return operation_id


def why(isthmus: CommandLine, operation_id: str, *causes: str, profile: str = "data-team") -> Any:  # noqa: ANN401
    """Ask why until the cause is one of these; every answer on the way has a cause or an ending, too."""
    while True:
        answer = isthmus("operation", "why", operation_id, profile=profile)
        assert answer.code == 0, answer.err
        found = answer.json
        assert found["sentence"].endswith(".")
        assert (found["waiting"] is None) == (found["closed_at"] is not None)
        if found["waiting"] in causes:
            return found
