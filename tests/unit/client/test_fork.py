"""Forks, as Airflow and Spark make them: in processes of their own, because a fork cannot be taken back."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def run(cases: str) -> dict[str, str]:
    """Return what each case printed."""
    finished = subprocess.run(
        [sys.executable, "-m", "tests.unit.client.fork_child", cases],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = (line.partition(" ") for line in finished.stdout.splitlines())
    return {name: said for name, _, said in lines}


def test_sync_client_works_when_process_was_forked() -> None:
    """In the child, in a multiprocessing child, after threads used it, and still in the parent."""
    assert run("sync") == {
        "parent-before": "paid 300",
        "child": "paid 300",
        "multiprocessing": "paid 300",
        "child-after-threads": "paid 300",
        "parent-after": "paid 300",
    }


def test_async_client_refuses_when_process_was_forked_while_connected() -> None:
    """It would hang: it says so instead. A sync client works there."""
    assert run("async") == {
        "async-inherited": "ForkedError",
        "async-anew-while-open": "ForkedError",
        "sync-while-async-open": "paid 300",
        "parent-async": "paid 300",
        "async-anew-after-close": "ForkedError",
    }


def test_async_client_works_when_parent_used_sync_ones_only() -> None:
    """The sync stack in the parent does no harm."""
    assert run("clean") == {"parent-sync": "paid 300", "async-in-child": "paid 300"}
