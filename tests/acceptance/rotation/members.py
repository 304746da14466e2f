"""Two teams, with processes on several machines that read copies of their keyrings; and their commands."""

import json
import os
import random
import shutil
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.acceptance.cli_process import Answer
from tests.acceptance.deployment.deadline import await_that
from tests.acceptance.deployment.gateway import PROGRAM as GATEWAY
from tests.acceptance.deployment.gateway import create_endpoint
from tests.acceptance.deployment.process import RunningProcess
from tests.acceptance.deployment.team import Team
from tests.acceptance.deployment.two_teams import ENDPOINT, TASK_QUEUE, TwoTeams, create_two_teams
from tests.acceptance.rotation.member import Part
from tests.faults.kill.durable_lines import read_journal
from typer.testing import CliRunner

from isthmus.cli.app import app

PROGRAM = "tests.acceptance.rotation.member"
PATIENCE_SECONDS = 120.0
DATA_ENDPOINT, DATA_QUEUE = "data", "data-queue"
LONGEST_DELIVERY_SECONDS = 0.3


class Result(NamedTuple):
    """What came of a call; the error is empty when it ended well. Times are Unix seconds."""

    name: str
    began: float
    ended: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A process of a team, and the folder that is its machine."""

    team: Team
    machine: Team
    part: Part
    process: RunningProcess

    def tell(self, do: str, **more: str) -> None:
        """Have it do something."""
        self.process.say(json.dumps({"do": do} | more))

    def said(self, what: str) -> list[dict[str, Any]]:
        """Return the lines of its journal with a field."""
        return [dict(line) for line in read_journal(Path(self.part.journal)) if what in line]

    def await_line(self, what: str, *, least: int = 0, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Return its first line with a field that has such a value; numbers are at least ``least``."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.said(what) if not least or line[what] >= least]

        await_that(lambda: bool(found()), f"{self.part.name}: {what}\n{self.process.tail()}", seconds=seconds)
        return found()[0]

    def results(self) -> list[Result]:
        """Return (id, began, ended, error) of its calls."""
        return [Result(*line) for line in json.loads(Path(self.part.results).read_text(encoding="utf-8"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What runs."""

    teams: TwoTeams
    members: list[Member] = field(default_factory=list)

    def of(self, team: Team) -> Sequence[Member]:
        """Return the members of a team."""
        return [member for member in self.members if member.team == team]

    def command(self, team: Team, *words: str, code: int = 0) -> Answer:
        """Run ``isthmus`` where a team's keyring and signer are; it has to end as expected."""
        foreign = {name: None for name in os.environ if name.startswith("ISTHMUS_")}
        environment = {**foreign, **team.environment(self.teams.site.address), "TERM": "dumb"}
        result = CliRunner().invoke(app, ["--output", "json", *words], env=environment)
        answer = Answer(code=int(result.exit_code), out=result.stdout, err=result.stderr)
        assert answer.code == code, (words, answer.out, answer.err, result.exception)
        return answer

    def keys(self, team: Team, kind: str, state: str) -> list[str]:
        """Return the ids of a team's keys in a state, oldest first."""
        return [
            key["key_id"]
            for key in self.command(team, "keys", "show").json["keys"]
            if (key["kind"], key["state"]) == (kind, state)
        ]


class Delivery:
    """Whatever distributes a team's secrets: brings its keyring to each machine, some time after a change."""

    def __init__(self, team: Team, machines: Sequence[Team]) -> None:
        self._team = team
        self._machines = machines
        self._ended = threading.Event()
        self._job = threading.Thread(target=self._run, name=f"delivery of {team.namespace}")
        self._randomness = random.Random(team.namespace)  # noqa: S311 - nothing secret

    def __enter__(self) -> Self:
        """Begin."""
        self._job.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._job.join()

    def _run(self) -> None:
        delivered = self._team.keyring_file.read_bytes()
        while not self._ended.wait(0.02):
            now = self._team.keyring_file.read_bytes()
            if now != delivered:
                for machine in self._machines:
                    self._ended.wait(self._randomness.uniform(0, LONGEST_DELIVERY_SECONDS))
                    new = machine.folder / "new"
                    new.write_bytes(now)
                    new.chmod(0o600)
                    new.replace(machine.keyring_file)
                delivered = now


BOTH_TEAMS = frozenset({"data-team", "app-team"})


@contextmanager
def deployment(
    folder: Path,
    *,
    machines: int,
    per_second: float = 0.0,
    cache_seconds: int,
    gateway: str = GATEWAY,
    namespaces: frozenset[str] = BOTH_TEAMS,
) -> Generator[Deployment]:
    """Run a gateway, and for teams members on so many machines, which call ``per_second`` each when told."""
    teams = create_two_teams(folder)
    teams.handler.pin(teams.caller, DATA_ENDPOINT)
    running = [teams.site.start(program=gateway)]
    deployed = Deployment(teams=teams)
    try:
        teams.register(running[0])
        create_endpoint(
            teams.site, teams.caller, DATA_ENDPOINT, task_queue=DATA_QUEUE, callers=[teams.handler]
        )
        for team in (teams.caller, teams.handler):
            for number in range(machines if team.namespace in namespaces else 0):
                deployed.members.append(_start(teams, team, number, per_second, cache_seconds))
                running.append(deployed.members[-1].process)
        for member in deployed.members:
            member.await_line("ready")
        with _delivery(deployed, teams.caller), _delivery(deployed, teams.handler):
            yield deployed
        for member in deployed.members:
            member.process.close_input()
        for process in running[1:]:
            assert process.join(seconds=PATIENCE_SECONDS) == 0, process.tail()
    finally:
        for process in running:
            if process.exit_code is None:
                process.kill()


def _delivery(deployed: Deployment, team: Team) -> Delivery:
    return Delivery(team, [member.machine for member in deployed.of(team)])


def _start(teams: TwoTeams, team: Team, number: int, per_second: float, cache_seconds: int) -> Member:
    name = f"{team.namespace}-{number}"
    machine = Team(namespace=team.namespace, folder=teams.folder / name)
    machine.folder.mkdir(mode=0o700)
    for file in (team.keyring_file, team.trust_file, team.signing_key_file):
        shutil.copy2(file, machine.folder / file.name)
    is_caller = team == teams.caller
    part = Part(
        name=name,
        journal=str(machine.folder / "journal.jsonl"),
        results=str(machine.folder / "results.json"),
        queue=DATA_QUEUE if is_caller else TASK_QUEUE,
        endpoint=ENDPOINT if is_caller else DATA_ENDPOINT,
        per_second=per_second,
    )
    process = RunningProcess(
        name,
        [PROGRAM, json.dumps(asdict(part))],
        environment={
            **machine.environment(teams.site.address),
            "ISTHMUS_KEY_CACHE_SECONDS": str(cache_seconds),
        },
        output=teams.folder / f"{name}.log",
    )
    return Member(team=team, machine=machine, part=part, process=process)
