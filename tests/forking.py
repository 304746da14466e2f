"""Starts a Python module in a process that is forked from one that has imported everything already.

A process of its own, which can be killed, frozen and measured as any other; only its imports, a second of
processor time, were done before. What forks has a single thread: see ``multiprocessing``'s fork server.
"""

import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO

from tests.cheap_passphrases import derive_cheaply

_FORK = multiprocessing.get_context("forkserver")
_FORK.set_forkserver_preload(
    [
        "isthmus.cli.app",
        "isthmus.cli.call",
        "isthmus.cli.dev",
        "isthmus.cli.worker",
        "isthmus.client",
        "isthmus.gateway.assembly",
        "isthmus.gateway.process",
        "isthmus.gateway.store.migrations.revisions",
        "isthmus.worker",
        "tests.faults.checker",
        "tests.faults.connecting",
        "tests.faults.work",
    ]
)
Streams = tuple[Connection, Connection, Connection]
"""Standard input, output and error; a connection is any file descriptor here."""


class ForkedModule:
    """A module with its arguments, run as by ``python -m``, but with cheap passphrases.

    It has of ``subprocess.Popen`` what is needed here. With ``output``, what it prints goes to the end of
    that file; without, it can be read from ``stdout`` and ``stderr``.
    """

    def __init__(
        self,
        module: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        output: Path | None = None,
    ) -> None:
        theirs, self.stdin = _pipe_in()
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        if output is None:
            (out, self.stdout), (errors, self.stderr) = _pipe_out(), _pipe_out()
        else:
            out, errors = (Connection(_opened(output)) for _ in range(2))
        self._process = fork(module, environment=environment, folder=folder, streams=(theirs, out, errors))

    @property
    def pid(self) -> int:
        """Its process id."""
        pid = self._process.pid
        if pid is None:
            raise AssertionError("it was started")
        return pid

    @property
    def returncode(self) -> int | None:
        """How it ended, negative if by a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return how it ended; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        code = self.returncode
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, told: str = "", *, timeout: float | None = None) -> tuple[str, str]:
        """Tell it something and read what it prints until it ends. Raises subprocess.TimeoutExpired."""
        printed = ["", ""]

        def read(number: int, file: IO[str] | None) -> None:
            printed[number] = "" if file is None else file.read()

        files = enumerate((self.stdout, self.stderr))
        readers = [threading.Thread(target=read, args=each, daemon=True) for each in files]
        for reader in readers:
            reader.start()
        if not self.stdin.closed:
            with contextlib.suppress(BrokenPipeError), self.stdin:
                self.stdin.write(told)
        self.wait(timeout)
        for reader in readers:
            reader.join()
        return printed[0], printed[1]


def fork(
    module: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    streams: Streams,
    is_in_path: bool = True,
) -> BaseProcess:
    """Run a module with its arguments in another process, which gets these streams: they are closed here.

    Modules of the folder can be imported there if it ``is_in_path``, as by ``python -m``.
    """
    arguments = (list(module), dict(environment), folder, streams, [str(folder)] * is_in_path)
    process = _FORK.Process(target=_run, args=arguments, daemon=True)
    process.start()
    for stream in streams:
        stream.close()
    return process


def _pipe_in() -> tuple[Connection, IO[str]]:
    theirs, ours = os.pipe()
    return Connection(theirs), os.fdopen(ours, "w")


def _pipe_out() -> tuple[Connection, IO[str]]:
    ours, theirs = os.pipe()
    return Connection(theirs), os.fdopen(ours)


def _opened(output: Path) -> int:
    return os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def _run(
    module: list[str], environment: dict[str, str], folder: Path, streams: Streams, path: list[str]
) -> None:
    # A Ctrl-C in the terminal is for the test, which ends its processes itself.
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    # The forked process had none that anybody could write to.
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = path
    sys.argv = list(module)
    derive_cheaply()
    runpy.run_module(module[0], run_name="__main__", alter_sys=True)
