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
from pathlib import Path
from typing import IO

from tests.acceptance.deployment.cheap_passphrases import derive_cheaply

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
_STDIN, _STDOUT, _STDERR = range(3)


class ForkedModule:
    """A module with its arguments, run as by ``python -m``, but with cheap passphrases.

    It has of ``subprocess.Popen`` what is needed here.
    With ``output``, what it prints goes to the end of that file; without, it can be read from ``stdout`` and
    ``stderr``.
    """

    def __init__(
        self,
        module: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        output: Path | None = None,
    ) -> None:
        theirs_in, ours_in = _FORK.Pipe(duplex=False)
        pipes: list[Connection] = [theirs_in]
        ours: list[Connection] = [ours_in]
        for _ in range(2 if output is None else 0):
            read, write = _FORK.Pipe(duplex=False)
            pipes.append(write)
            ours.append(read)
        self._process = _FORK.Process(
            target=_run, args=(list(module), dict(environment), folder, output, pipes), daemon=True
        )
        self._process.start()
        for pipe in pipes:
            pipe.close()
        files = [os.fdopen(os.dup(pipe.fileno()), mode) for pipe, mode in zip(ours, "wrr", strict=False)]
        for pipe in ours:
            pipe.close()
        self.stdin: IO[str] = files[0]
        self.stdout: IO[str] | None = files[1] if output is None else None
        self.stderr: IO[str] | None = files[2] if output is None else None

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

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read what it prints until it ends. Raises subprocess.TimeoutExpired."""
        printed = ["", ""]

        def read(number: int, file: IO[str] | None) -> None:
            printed[number] = "" if file is None else file.read()

        readers = [
            threading.Thread(target=read, args=each, daemon=True)
            for each in enumerate((self.stdout, self.stderr))
        ]
        for reader in readers:
            reader.start()
        self.stdin.close()
        self.wait(timeout)
        for reader in readers:
            reader.join()
        return printed[0], printed[1]


def _run(
    module: list[str],
    environment: dict[str, str],
    folder: Path,
    output: Path | None,
    pipes: list[Connection],
) -> None:
    # A Ctrl-C in the terminal is for the test, which ends its processes itself.
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(pipes[0].fileno(), _STDIN)
    if output is None:
        os.dup2(pipes[1].fileno(), _STDOUT)
        os.dup2(pipes[2].fileno(), _STDERR)
    else:
        with output.open("ab") as file:
            os.dup2(file.fileno(), _STDOUT)
            os.dup2(file.fileno(), _STDERR)
    for pipe in pipes:
        pipe.close()
    # The forked process had none that anybody could write to.
    sys.stdin = os.fdopen(_STDIN, closefd=False)
    sys.stdout = os.fdopen(_STDOUT, "w", closefd=False)
    sys.stderr = os.fdopen(_STDERR, "w", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.argv = list(module)
    derive_cheaply()
    runpy.run_module(module[0], run_name="__main__", alter_sys=True)
