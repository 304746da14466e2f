"""The ways of docs/postgresql.md from one store to the other, as they are typed, amid an operation."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.deployment.process import RunningProcess, clean_environment
from tests.acceptance.deployment.two_teams import ENDPOINT, TwoTeams, create_two_teams
from tests.acceptance.talk.steps import Walks
from tests.acceptance.talk.walkers import Walkers, connected
from typer.testing import CliRunner

from isthmus.cli.app import app

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]

PAGE = Path(__file__).parents[2] / "docs" / "postgresql.md"
DSN = "postgresql://isthmus@db.internal/isthmus"
STEPS = 3


class Terminal:
    """Where an operator types: the commands of ``isthmus`` run in this process, which saves their imports."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self._folder = folder
        self._dsn = shlex.quote(dsn)
        self._environment: dict[str, str | None] = {"ISTHMUS_GATEWAY_CONFIG": str(folder / "isthmus.toml")}

    def type_block(self, name: str) -> str:
        """Type a block of the page, and return what was said; every command has to succeed."""
        page = PAGE.read_text(encoding="utf-8")
        block = re.search(rf"<!-- run: {name} -->\n```sh\n(.*?)```", page, re.DOTALL)
        assert block is not None
        return "".join(self._type(line) for line in block[1].replace(DSN, self._dsn).splitlines())

    def _type(self, line: str) -> str:
        words = shlex.split(line)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self._environment[name] = value
        elif words[0] == "unset":
            self._environment[words[1]] = None
        elif words[0] == "isthmus":
            ran = CliRunner().invoke(app, words[1:], env=self._environment)
            assert ran.exit_code == 0, f"{line}\n{ran.output}"
            return ran.output
        else:
            subprocess.run(["/bin/sh", "-ec", line], cwd=self._folder, env=clean_environment(), check=True)
        return ""


def configure(teams: TwoTeams, dsn: str) -> None:
    """Let the deployment's gateway use PostgreSQL from its next start on, or its file without a DSN."""
    config = teams.site.config_file
    text = config.read_text().partition("\n[store]\n")[0]
    config.write_text(f'{text}\n[store]\ndsn = "{dsn}"\n' if dsn else text)


def started(teams: TwoTeams, running: list[RunningProcess]) -> RunningProcess:
    """Start the deployment's gateway."""
    gateway = teams.site.start()
    running.append(gateway)
    return gateway


def test_operation_ends_when_its_gateway_moves_to_postgresql_and_back(
    tmp_path: Path, bare_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is open takes its steps on one store after the other; one that has ended keeps its outcome."""
    teams = create_two_teams(tmp_path, lease_seconds=300)
    monkeypatch.chdir(teams.site.folder)
    terminal = Terminal(teams.site.folder, bare_dsn)
    running: list[RunningProcess] = []
    walkers = Walkers(teams)
    try:
        first = started(teams, running)
        teams.register(first)
        walker = walkers.start()
        running.append(walker)
        with connected(teams) as client:
            walks = client.create_nexus_client(ENDPOINT, Walks)
            ended = walks.start_operation(Walks.walk, 0)
            assert ended.result() == []
            handle = walks.start_operation(Walks.walk, STEPS)
            walkers.wait_for(walker, "began", (1, 0))
            assert first.terminate(seconds=30) == 0
            said = terminal.type_block("there")
            assert "The configuration is fine." in said
            assert "nothing to do" in said
            configure(teams, bare_dsn)
            second = started(teams, running)
            walker.say("go")
            walkers.wait_for(walker, "began", (1, 1))
            assert connected_result(teams, ended.operation_id) == []
            walker.say("go")
            walkers.wait_for(walker, "began", (1, 2))
            assert second.terminate(seconds=30) == 0
            terminal.type_block("away")
            configure(teams, "")
            terminal.type_block("home")
            started(teams, running)
            walker.say("go")
            result: Any = handle.result()
            assert result == list(range(STEPS))
    finally:
        for process in running:
            process.kill()


def connected_result(teams: TwoTeams, operation_id: str) -> Any:  # noqa: ANN401
    """Return the outcome that the gateway keeps, as somebody who comes new."""
    with connected(teams) as client:
        return client.get_operation_handle(operation_id).result()
