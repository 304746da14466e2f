"""Runs a command of the command line in a forked process that kills itself with SIGKILL at a chosen step.

A step is an fsync, before and after it, or a call to the gateway, before and after its effect. Forked after
all imports, so that a step costs a tenth of a second. Nobody waits for the time. What forks is a process of
its own with a single thread: a child of one with many could wait for ever for a lock that another thread had.
"""

import functools
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer
from tests.acceptance.kept_by_gateway import KeptByGateway
from tests.cheap_passphrases import derive_cheaply

from isthmus.cli import connection
from isthmus.cli.app import run

KILLED = -signal.SIGKILL
_REAL_SYNC, _REAL_TIME_NS = os.fsync, time.time_ns
_get_command = functools.cache(typer.main.get_command)


class Steps:
    """Counts, and ends the process at the chosen step: no handler, no buffer, no lock is cleaned up."""

    def __init__(self, kill_at: int | None) -> None:
        self._kill_at, self._count = kill_at, 0

    def step(self) -> None:
        """One more."""
        self._count += 1
        if self._count == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


class _Clock:
    """Time passes when somebody sleeps, and at no cost."""

    def __init__(self) -> None:
        self._slept_ns = 0

    def sleep(self, seconds: Any) -> None:  # noqa: ANN401 - as time.sleep
        """Let time pass."""
        self._slept_ns += round(seconds * 1e9)

    def time_ns(self) -> int:
        """Return the time of the system, and what was slept."""
        return _REAL_TIME_NS() + self._slept_ns


def run_forked(folder: Path, words: Sequence[str], *, kill_at: int | None = None) -> int:
    """Run a command in a folder; return its exit code, or KILLED."""
    found: int = _in_a_process(folder, words, "once", kill_at)
    return found


def kill_everywhere(base: Path, words: Sequence[str]) -> list[int]:
    """Run a command undisturbed, then killed at every step and repeated, each in its own copy of a folder.

    Returns how the undisturbed run and each repeated one ended. Beside the folder are ``0``, what the
    undisturbed run left, and ``1`` and so on, what the repeated ones did.
    """
    found: list[int] = _in_a_process(base, words, "everywhere", None)
    return found


def _in_a_process(folder: Path, words: Sequence[str], what: str, kill_at: int | None) -> Any:  # noqa: ANN401 - JSON
    asked = json.dumps([what, str(folder), list(words), kill_at])
    done = subprocess.run(
        [sys.executable, "-m", "tests.acceptance.killed_command", asked],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _everywhere(base: Path, words: Sequence[str]) -> list[int]:
    # Not in a child: what the command imports is there for all children.
    undisturbed = _run(_copy(base, 0), words, Steps(None))
    repeated: list[int] = []
    while True:
        folder = _copy(base, len(repeated) + 1)
        code = _once(folder, words, kill_at=len(repeated) + 1)
        if code != KILLED:
            break
        repeated.append(_once(folder, words))
    assert code == undisturbed, "the command did not end as it did undisturbed"
    return [undisturbed, *repeated]


def _once(folder: Path, words: Sequence[str], *, kill_at: int | None = None) -> int:
    return _forked(folder, lambda: _run(folder, words, Steps(kill_at)))


def _copy(base: Path, number: int) -> Path:
    return Path(shutil.copytree(base, base.with_name(str(number))))


def _forked(folder: Path, work: Callable[[], int]) -> int:
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
    code = 99
    try:
        code = work()
    except BaseException:  # noqa: BLE001 - nothing may return into the test
        (folder / "traceback").write_text(traceback.format_exc())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _run(folder: Path, words: Sequence[str], steps: Steps) -> int:
    os.chdir(folder)
    sys.stdout, sys.stderr = io.StringIO(), (folder / "stderr").open("w")
    for name in [name for name in os.environ if name.startswith("ISTHMUS_")]:
        del os.environ[name]
    os.environ |= {
        "ISTHMUS_CONFIG": os.devnull,
        "ISTHMUS_KEYRING": "keyring.json",
        "ISTHMUS_TRUST_STORE": "trust.json",
        "ISTHMUS_PASSPHRASE": "correct horse",
    }

    def sync(fd: int) -> None:
        steps.step()
        _REAL_SYNC(fd)
        steps.step()

    os.fsync = sync  # type: ignore[assignment]
    typer.main.get_command = _get_command
    clock = _Clock()
    time.sleep, time.time_ns = clock.sleep, clock.time_ns
    derive_cheaply()
    gateway = KeptByGateway(folder / "gateway.json")

    def call(self: object, stub: object, method: str, request: object) -> Any:  # noqa: ANN401
        del self, stub
        steps.step()
        answer = gateway.call(method, request)
        steps.step()
        return answer

    connection.GatewayConnection.call = call  # type: ignore[method-assign]
    return int(run(words))


def main() -> None:
    """Do what another process asks for, and print how it ended."""
    # A command that runs in this process writes elsewhere.
    out = sys.stdout
    what, folder, words, kill_at = json.loads(sys.argv[1])
    if what == "once":
        ended: Any = _once(Path(folder), words, kill_at=kill_at)
    else:
        ended = _everywhere(Path(folder), words)
    out.write(json.dumps(ended))


if __name__ == "__main__":
    main()
