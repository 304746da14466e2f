"""Processes that belong to one run: started with their output in files, and none of them left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_SECONDS = 10.0
LOOK_SECONDS = 0.05


class DemoError(Exception):
    """What was started here does not do what it should; the message says what it said last."""


class Processes:
    """Starts Python modules as processes, and stops all of them at the end of the block."""

    def __init__(self, directory: Path) -> None:
        """Keep the output of every process in a file of this directory."""
        self._directory = directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
        """Start ``python -m arguments…`` under a name; return its process id."""
        plain = {key: value for key, value in os.environ.items() if not key.startswith("ISTHMUS_")}
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own modules
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=plain | dict(environment),
                # Ctrl-C reaches the terminal's whole group: who started them decides when they stop.
                start_new_session=True,
            )
        self._running[name] = process
        return process.pid

    def log(self, name: str) -> Path:
        """Where the output of a process is."""
        return self._directory / f"{name}.log"

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process that runs."""
        self._running[name].send_signal(number)

    def kill(self, name: str) -> None:
        """Kill a process with -9 and wait until it is gone."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def check(self) -> None:
        """Raise DemoError when a process has ended by itself."""
        for name, process in self._running.items():
            code = process.poll()
            if code is not None:
                raise DemoError(f"the process {name} ended with code {code}:\n{self.last_words(name)}")

    def wait_until(self, condition: Callable[[], bool], *, what: str, seconds: float) -> None:
        """Return when the condition holds. Raises DemoError when it does not in time, or a process ends."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                words = "\n".join(f"{name}: {self.last_words(name, lines=3)}" for name in self._running)
                raise DemoError(f"after {seconds:.0f} s still waiting for {what}\n{words}")
            time.sleep(LOOK_SECONDS)

    def last_words(self, name: str, *, lines: int = 15) -> str:
        """Return the last lines that a process wrote."""
        try:
            text = self.log(name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """Ask all processes to stop, last started first, and kill those that do not."""
        running = list(reversed(self._running.values()))
        self._running.clear()
        for process in running:
            if process.poll() is None:
                process.terminate()
        for process in running:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> Self:
        """Return the processes themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop them."""
        self.stop()


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections on a port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
