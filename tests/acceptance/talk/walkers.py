"""Workers that take steps, what they wrote down, and who calls them."""

from tests.acceptance.deployment.deadline import await_that
from tests.acceptance.deployment.process import RunningProcess
from tests.acceptance.deployment.two_teams import TwoTeams
from tests.faults.kill.durable_lines import read_journal

from isthmus.client.sync import SyncClient
from isthmus.transport.channel import ChannelSettings

PATIENCE_SECONDS = 60.0
PROGRAM = "tests.acceptance.talk.steps_worker"


class Walkers:
    """The workers of app-team, one after the other, and what they wrote down."""

    def __init__(self, teams: TwoTeams) -> None:
        self._teams = teams
        self._journal = teams.folder / "steps.jsonl"
        self._count = 0

    def start(self, address: str = "") -> RunningProcess:
        """Start a worker, at the deployment's gateway or at another address."""
        self._count += 1
        name = f"walker-{self._count}"
        return RunningProcess(
            name,
            [PROGRAM, str(self._journal)],
            environment=self._teams.handler.environment(address or self._teams.site.address),
            output=self._teams.folder / f"{name}.log",
        )

    def lines(self, what: str) -> list[tuple[int, int]]:
        """Return (attempt, step) of everything that began, or was done."""
        return [(line["attempt"], line[what]) for line in read_journal(self._journal) if what in line]

    def wait_for(self, walker: RunningProcess, what: str, step: tuple[int, int]) -> None:
        """Return when that is in the journal."""
        await_that(
            lambda: step in self.lines(what),
            f"{step} {what}; {self.lines(what)}\n{walker.tail()}",
            seconds=PATIENCE_SECONDS,
        )


def connected(teams: TwoTeams, address: str = "") -> SyncClient:
    """Connect as the caller, to the deployment's gateway or another address."""
    caller = teams.caller
    return SyncClient.connect(
        channel=ChannelSettings(address=address or teams.site.address),
        keyring=caller.open_keyring(),
        trust=caller.trust_file,
        credentials=caller.tokens(),
    )
