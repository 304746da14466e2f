"""isthmus demo, as somebody runs it who installed Isthmus a minute ago."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.deployment.process import clean_environment

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

DEADLINE_SECONDS = 90.0


def environment(mark: str) -> dict[str, str]:
    """Return an environment without settings of the machine, inherited by every process of a run."""
    return clean_environment() | {"TERM": "dumb", "MARK_OF_TEST": mark}


def demo(*arguments: str, mark: str) -> subprocess.CompletedProcess[str]:
    """Run the demonstration to its end."""
    return subprocess.run(
        [sys.executable, "-m", "isthmus.cli", "demo", *arguments],
        env=environment(mark),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def processes_of(mark: str) -> list[int]:
    """Return the processes that run with the mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"MARK_OF_TEST={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def check_sound(document: dict[str, Any]) -> None:
    """Nothing lost, repeated, altered or readable."""
    accounts, exposure = document["accounts"], document["exposure"]
    assert document["sound"], accounts
    assert accounts["batches"] == accounts["results"] == accounts["recorded"]
    assert accounts["lost"] == accounts["repeated"] == accounts["altered"] == 0
    assert accounts["answered_back"] == 1
    assert exposure["values_found"] == 0


@pytest.mark.timeout(150)
def test_demo_loses_nothing_when_its_worker_is_killed(tmp_path: Path) -> None:
    """The airports of the world: real processes, kill -9, three accounts that agree, under a minute."""
    keep = tmp_path / "kept"
    result = demo("--output", "json", "--keep", str(keep), mark=str(tmp_path))
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    check_sound(document)
    assert document["accounts"]["rows"] > 28_000
    assert document["killed_with"] > 0
    assert document["accounts"]["redeliveries"] > 0
    assert document["exposure"]["values_sought"] == 500
    assert document["exposure"]["clear"]["from"] == "data-team/developer"
    assert processes_of(str(tmp_path)) == []
    runs = {json.loads(line)["pid"] for line in (keep / "app-team.journal").read_text().splitlines()}
    assert len(runs) == 2
    assert "Worker killed with -9" in result.stderr


@pytest.mark.timeout(150)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_demo_takes_a_file_of_ones_own_when_it_is_given(tmp_path: Path, kind: str) -> None:
    """Any table: here one without places, with a repeated row; the table for people."""
    rows = [{"customer": f"customer number {number}", "amount": str(number)} for number in range(60)]
    rows.append(rows[0])
    path = tmp_path / f"mine.{kind}"
    if kind == "csv":
        path.write_text("customer,amount\n" + "".join(f"{row['customer']},{row['amount']}\n" for row in rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = demo("--input", str(path), mark=f"{tmp_path}{kind}")
    assert result.returncode == 0, result.stderr
    words = " ".join(result.stdout.split())
    assert "(60 rows of mine)" in words
    assert "lost / repeated / altered 0 / 0 / 0" in words
    assert ", 0 can be found" in words
    assert processes_of(f"{tmp_path}{kind}") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"", "the file is empty"),
        (b"a,b\n1,2\n3\n", "line 3 has 1 fields, the header has 2"),
        (b"a,b\n\xff,1\n", "not UTF-8"),
    ],
    ids=["missing", "empty", "ragged", "not-utf8"],
)
def test_demo_starts_nothing_when_the_file_is_bad(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    """One sentence, exit code 2, and no directory either."""
    path = tmp_path / "mine.csv"
    if content is not None:
        path.write_bytes(content)
    keep = tmp_path / "kept"
    result = demo("--input", str(path), "--keep", str(keep), mark=str(tmp_path))
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not keep.exists()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_leaves_no_process_behind_when_it_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    """In the middle of the work, by Ctrl-C or by a supervisor."""
    mark = f"{tmp_path}{number}"
    # A script starts what it puts into the background with SIGINT ignored, and children inherit that.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "isthmus.cli", "demo"],
        env=environment(mark),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, inherited)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Placing batches"):
            break
    # The demo, its gateway, the caller; the worker may be between its two lives.
    assert len(processes_of(mark)) >= 3
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert _gone(mark)


def _gone(mark: str) -> bool:
    deadline = time.monotonic() + 10
    while processes_of(mark):
        if time.monotonic() > deadline:
            return False
    return True
