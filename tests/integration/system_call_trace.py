"""What a process did, in order, as strace saw it.

A test that wants to know whether something was on disk before somebody was told asks here: it knows nothing
of stores or gateways, only of files, syncs and writes.
"""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.missing import missing

_TRACED = "write,pwrite64,writev,pwritev,sendto,sendmsg,fsync,fdatasync"
_CALL = re.compile(r"^\d+ +(?P<name>\w+)\((?P<descriptor>\d+)<(?P<target>[^>]*)>(?P<arguments>.*)$")
_RESUMED = re.compile(r"^\d+ +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)$")
# What a write to a database holds of a fact may be anywhere in its page.
_PAGE_BYTES = 4096
_UNFINISHED = " <unfinished ...>"
_SYNCS = frozenset({"fsync", "fdatasync"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemCall:
    """A call that returned. ``target`` is the file or socket, ``arguments`` the rest as strace prints it.

    ``began`` and ``ended`` order it among the calls of other threads.
    """

    began: int
    ended: int
    name: str
    target: str
    arguments: str


def require_strace() -> str:
    """Return the path of strace; skip the test, by name of what is missing, where there is none."""
    strace = shutil.which("strace")
    if strace is None:
        raise missing("strace is missing (Debian: apt-get install strace)")
    return strace


def traced(command: Sequence[str], log: Path) -> list[str]:
    """Return the command line that runs a command under strace, writing its calls to a file."""
    return [
        require_strace(),
        *(
            "-f",
            # It stops at no other calls.
            "--seccomp-bpf",
            "-y",
            "-s",
            str(_PAGE_BYTES),
            "-e",
            f"trace={_TRACED}",
            "-e",
            "signal=none",
            "-o",
            str(log),
            "--",
        ),
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
    unfinished: dict[tuple[str, str], tuple[int, str]] = {}
    for number, printed in enumerate(log.splitlines()):
        thread = printed.split(" ", 1)[0]
        began, line = number, printed
        resumed = _RESUMED.match(printed)
        if resumed is not None:
            began, first_half = unfinished.pop((thread, resumed["name"]), (number, ""))
            line = first_half + resumed["rest"]
        call = _CALL.match(line)
        if call is None:
            continue
        if line.endswith(_UNFINISHED):
            unfinished[thread, call["name"]] = number, line.removesuffix(_UNFINISHED)
            continue
        calls.append(
            SystemCall(
                began=began,
                ended=number,
                name=call["name"],
                target=call["target"],
                arguments=call["arguments"],
            )
        )
    return calls


def told_too_early(calls: Sequence[SystemCall], *, log_file: str, facts: Mapping[str, str]) -> list[str]:
    """Return the words that were said before what they promise was on disk, or that were never said.

    Each fact is followed by itself, because other commits are under way meanwhile: its bytes are written to
    the log, a sync of the log begins after that and returns, and only then a call begins that tells somebody.

    Args:
        calls: of the process, in order.
        log_file: how the name of the write-ahead log ends.
        facts: by the word that the telling call contains, the bytes that are written for it.
    """
    logged = [call for call in calls if call.target.endswith(log_file)]
    others = [call for call in calls if not call.target.endswith(log_file)]
    syncs = [call for call in logged if call.name in _SYNCS and call.arguments.endswith("= 0")]
    early: list[str] = []
    for word, written in facts.items():
        write = next((call for call in logged if written in call.arguments), None)
        sync = next((call for call in syncs if write is not None and call.began > write.ended), None)
        told = next((call for call in others if word in call.arguments), None)
        if sync is None or told is None or told.began < sync.ended:
            early.append(word)
    return early
