"""What a process did, in order, as strace saw it.

A test that wants to know whether something was on disk before somebody was told asks here: it knows nothing
of stores or gateways, only of files, syncs and writes.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

_TRACED = "write,pwrite64,writev,pwritev,sendto,sendmsg,fsync,fdatasync"
_CALL = re.compile(r"^\d+ +(?P<name>\w+)\((?P<descriptor>\d+)<(?P<target>[^>]*)>(?P<arguments>.*)$")
_RESUMED = re.compile(r"^\d+ +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)$")
_UNFINISHED = " <unfinished ...>"
_SYNCS = frozenset({"fsync", "fdatasync"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemCall:
    """A call that returned. ``target`` is the file or socket, ``arguments`` the rest as strace prints it."""

    name: str
    target: str
    arguments: str


def require_strace() -> str:
    """Return the path of strace; skip the test, by name of what is missing, where there is none."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is missing (Debian: apt-get install strace)")
    return strace


def traced(command: Sequence[str], log: Path) -> list[str]:
    """Return the command line that runs a command under strace, writing its calls to a file."""
    return [
        require_strace(),
        *("-f", "-y", "-s", "256", "-e", f"trace={_TRACED}", "-e", "signal=none", "-o", str(log), "--"),
        *command,
    ]


def run_traced(
    command: Sequence[str], log: Path, *, directory: Path, timeout_seconds: float
) -> list[SystemCall]:
    """Run a command to its end in a directory, under strace, and return what it did."""
    finished = subprocess.run(
        traced(command, log),
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        cwd=directory,
    )
    if "PTRACE_TRACEME" in finished.stderr or "ptrace" in finished.stderr:
        pytest.skip("strace may not trace here: ptrace is not permitted")
    assert finished.returncode == 0, finished.stderr
    return system_calls(log.read_text(encoding="utf-8", errors="replace"))


def system_calls(log: str) -> list[SystemCall]:
    """Return the calls of a log in the order in which they returned.

    A call that other threads interrupted is printed in two halves; it counts where its second half is.
    """
    calls: list[SystemCall] = []
    unfinished: dict[tuple[str, str], str] = {}
    for line in log.splitlines():
        thread = line.split(" ", 1)[0]
        resumed = _RESUMED.match(line)
        if resumed is not None:
            begun = unfinished.pop((thread, resumed["name"]), None)
            if begun is None:
                continue
            line = begun + resumed["rest"]  # noqa: PLW2901 - the two halves are one line
        call = _CALL.match(line)
        if call is None:
            continue
        if line.endswith(_UNFINISHED):
            unfinished[thread, call["name"]] = line.removesuffix(_UNFINISHED)
            continue
        calls.append(SystemCall(name=call["name"], target=call["target"], arguments=call["arguments"]))
    return calls


def unsynced_acknowledgements(calls: Sequence[SystemCall], *, log_file: str, told: str) -> list[SystemCall]:
    """Return the calls that told somebody of something while bytes of the log file were not yet synced.

    Args:
        calls: of the process, in order.
        log_file: how the name of the write-ahead log ends.
        told: what the arguments of an acknowledging call contain.
    """
    is_synced = True
    early: list[SystemCall] = []
    for call in calls:
        if call.target.endswith(log_file):
            is_synced = call.name in _SYNCS and call.arguments.endswith("= 0")
        elif told in call.arguments and not is_synced:
            early.append(call)
    return early
