"""What brings each waiting cause about, a real fault or what a team really does, for all who ask why."""

import shutil
import tomllib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.cli_process import CommandLine
from tests.acceptance.on_call import start, why, worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An operation that waits, and what the sentence about it has to say."""

    operation_id: str
    endpoint: str
    words: str


Fault = Callable[[CommandLine], Generator[Waiting]]


def _nobody_polls(isthmus: CommandLine) -> Generator[Waiting]:
    operation_id = start(isthmus, "patient", "slow")
    yield Waiting(operation_id=operation_id, endpoint="patient", words="no worker polls task queue patient")


def _handler_fails(isthmus: CommandLine) -> Generator[Waiting]:
    operation_id = start(isthmus, "patient", "flaky")
    with worker(isthmus, "patient"):
        yield Waiting(operation_id=operation_id, endpoint="patient", words="failed (UNAVAILABLE)")


def _worker_serves_another_endpoint(isthmus: CommandLine) -> Generator[Waiting]:
    operation_id = start(isthmus, "strict", "slow")
    with worker(isthmus, "strict", "--endpoint", "another"):
        yield Waiting(operation_id=operation_id, endpoint="strict", words="could not open or verify")


def _worker_has_an_old_keyring(isthmus: CommandLine) -> Generator[Waiting]:
    """Keys were rotated, and a worker runs with a backup from before."""
    profiles = tomllib.loads((isthmus.directory / "profiles.toml").read_text(encoding="utf-8"))
    old = isthmus.directory / "restored-keyring.json"
    shutil.copy2(Path(isthmus.directory, profiles["profiles"]["app-team"]["keyring"]), old)
    rotated = isthmus("keys", "rotate", "--wait", "0s", profile="app-team")
    assert rotated.code == 0, rotated.err
    operation_id = start(isthmus, "strict", "slow")
    restored = CommandLine(isthmus.directory)
    restored.environment["ISTHMUS_KEYRING"] = str(old)
    with worker(restored, "strict"):
        yield Waiting(operation_id=operation_id, endpoint="strict", words="lacked a key")


def _worker_runs_it(isthmus: CommandLine) -> Generator[Waiting]:
    operation_id = start(isthmus, "patient", "slow")
    with worker(isthmus, "patient"):
        yield Waiting(operation_id=operation_id, endpoint="patient", words="runs attempt 1")


def _all_slots_are_taken(isthmus: CommandLine) -> Generator[Waiting]:
    first, second = (start(isthmus, "patient", "slow") for _ in range(2))
    with worker(isthmus, "patient", "--max-concurrent-tasks", "1"):
        why(isthmus, first, "running")
        try:
            yield Waiting(operation_id=second, endpoint="patient", words="in line for the next free slot")
        finally:
            terminate(isthmus, first)


def _handler_finishes_later(isthmus: CommandLine) -> Generator[Waiting]:
    operation_id = start(isthmus, "patient", "later")
    with worker(isthmus, "patient"):
        yield Waiting(operation_id=operation_id, endpoint="patient", words="the handler accepted it")


def _attempts_are_used_up(isthmus: CommandLine) -> Generator[Waiting]:
    operation_id = start(isthmus, "batches", "flaky")
    with worker(isthmus, "batches"):
        yield Waiting(operation_id=operation_id, endpoint="batches", words="used up")


def _attempts_fail_in_a_row(isthmus: CommandLine) -> Generator[Waiting]:
    operation_id = start(isthmus, "brittle", "flaky")
    with worker(isthmus, "brittle"):
        yield Waiting(operation_id=operation_id, endpoint="brittle", words="failed in a row")


def _caller_puts_it_off(isthmus: CommandLine) -> Generator[Waiting]:
    operation_id = start(isthmus, "patient", "slow", "--start-at", "2h")
    with worker(isthmus, "patient"):
        yield Waiting(operation_id=operation_id, endpoint="patient", words="its caller wants it to start at")


FAULTS: dict[str, Fault] = {
    "no_poller": _nobody_polls,
    "backoff": _handler_fails,
    "rejected": _worker_serves_another_endpoint,
    "key_unavailable": _worker_has_an_old_keyring,
    "running": _worker_runs_it,
    "fair_share": _all_slots_are_taken,
    "handler_async": _handler_finishes_later,
    "parked": _attempts_are_used_up,
    "circuit_open": _attempts_fail_in_a_row,
    "start_at": _caller_puts_it_off,
}
"""By the name of the cause."""

UNREACHABLE = {"approval": "HELD", "review": "REVIEW"}
"""Causes of states into which nothing leads before approvals exist, by the state."""


@contextmanager
def brought_about(isthmus: CommandLine, cause: str) -> Generator[Waiting]:
    """Bring a cause about for the length of the block, and return when its caller reads it.

    The operation is ended afterwards, so that nobody else meets it.
    """
    (isthmus.directory / "mended").unlink(missing_ok=True)
    with contextmanager(FAULTS[cause])(isthmus) as waiting:
        told = why(isthmus, waiting.operation_id, cause)
        assert waiting.words in told["sentence"]
        assert told["waiting_since"] < told["waiting_until"]
        try:
            yield waiting
        finally:
            terminate(isthmus, waiting.operation_id)


def terminate(isthmus: CommandLine, operation_id: str) -> None:
    """End an operation by force: what still runs would run again at the next test's worker."""
    isthmus("operation", "terminate", operation_id, "--reason", "the end", "--yes", profile="app-team")
