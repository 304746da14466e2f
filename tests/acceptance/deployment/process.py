"""Processes of a deployment: started, awaited, killed, measured."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.acceptance.deployment.deadline import await_that
from tests.forking import ForkedModule

ROOT = Path(__file__).resolve().parents[3]
_LAST_LINES = 40


class RunningProcess:
    """A Python module that runs in a process of its own. Its output goes to a file.

    A ``forked`` one starts sooner, and shares with others the memory of what it imports.
    """

    def __init__(
        self,
        name: str,
        module: Sequence[str],
        *,
        environment: Mapping[str, str],
        output: Path,
        forked: bool = False,
    ) -> None:
        self.name = name
        self.output = output
        theirs = clean_environment() | dict(environment)
        if forked:
            self._process: ForkedModule | subprocess.Popen[str] = ForkedModule(
                module, environment=theirs, folder=ROOT, output=output
            )
            return
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=ROOT,
                env=theirs,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
                # A Ctrl-C in the terminal is for the test, which ends its processes itself.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """End it as a power cut would: no handler runs, nothing is flushed."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        """Stop it where it is; its connections stay open."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after ``freeze``."""
        self._process.send_signal(signal.SIGCONT)

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        if self._process.stdin is None:
            raise AssertionError
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def close_input(self) -> None:
        """Say that there is nothing more to read."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def terminate(self, *, seconds: float) -> int:
        """Ask it to stop, and return its exit code. Raises OverdueError."""
        self._process.send_signal(signal.SIGTERM)
        return self.join(seconds=seconds)

    def join(self, *, seconds: float) -> int:
        """Wait for its end and return its exit code. Raises OverdueError."""
        await_that(lambda: self.exit_code is not None, f"{self.name} ends\n{self.tail()}", seconds=seconds)
        return self._process.wait()

    def tail(self) -> str:
        """The end of what it printed."""
        lines = self.output.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:])


def clean_environment() -> dict[str, str]:
    """Return this process's environment without any setting of Isthmus."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
