"""The command line against a development gateway that is a process of its own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.deployment.process import clean_environment
from tests.cheap_passphrases import deriving_cheaply
from tests.forking import ForkedModule
from typer.testing import CliRunner

from isthmus.cli.app import app

STOP_SECONDS = 30.0
COMMAND_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the command prints
        """The document that it printed."""
        return json.loads(self.out)


class CommandLine:
    """Runs ``isthmus`` with the profiles of one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = clean_environment() | {
            "ISTHMUS_CONFIG": str(directory / "profiles.toml"),
            "TERM": "dumb",
        }

    def __call__(self, *arguments: str, profile: str = "data-team", stdin: str = "") -> Answer:
        """Run one command to its end, with JSON output.

        In this process, because half of such a test would be imports; in one of its own where a test runs
        commands side by side: they change what belongs to the whole process, such as its output.
        """
        words = ["--profile", profile, "--output", "json", *arguments]
        # What is typed at a prompt would be repeated among the output here.
        if threading.current_thread() is threading.main_thread() and not stdin:
            answer = self._run_here(words)
        else:
            answer = self.run_apart(words, stdin)
        assert "Traceback" not in answer.err, answer.err
        return answer

    def run_apart(self, words: Sequence[str], stdin: str = "") -> Answer:
        """Run one command in a process of its own."""
        process = self.start(*words)
        out, errors = process.communicate(stdin, timeout=COMMAND_SECONDS)
        return Answer(code=process.wait(), out=out, err=errors)

    def _run_here(self, words: Sequence[str]) -> Answer:
        foreign = {name: None for name in os.environ if name not in self.environment}
        with contextlib.chdir(self.directory), deriving_cheaply():
            result = CliRunner().invoke(app, [*words], env={**self.environment, **foreign})
        return Answer(code=int(result.exit_code), out=result.stdout, err=result.stderr)

    @contextmanager
    def background(self, *arguments: str, profile: str = "data-team") -> Generator[ForkedModule]:
        """Run a command beside the test; SIGTERM ends it with the block, if it runs that long."""
        process = self.start("--profile", profile, "--output", "json", *arguments)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def start(self, *words: str) -> ForkedModule:
        """Start a command in a process of its own."""
        return ForkedModule(["isthmus.cli", *words], environment=self.environment, folder=self.directory)


@contextmanager
def development(directory: Path, *, demo_teams: bool) -> Generator[CommandLine]:
    """Run ``isthmus dev`` for the length of the block; it has to end well."""
    command_line = CommandLine(directory)
    directory.mkdir(mode=0o700, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    teams = "--demo-teams" if demo_teams else "--no-demo-teams"
    process = command_line.start("dev", "--dir", str(directory), "--port", str(port), teams)
    try:
        wait_for_line(process, "Stop with Ctrl-C.")
        yield command_line
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 0, errors


def wait_for_line(process: ForkedModule, text: str) -> str:
    """Return the first line of a process's stderr that contains the text."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return line
    raise AssertionError(f"the process ended without {text!r}:\n{''.join(seen)}")
