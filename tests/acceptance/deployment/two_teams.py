"""Two teams and a gateway between them: data-team calls what app-team serves."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.deployment.gateway import GatewaySite, create_endpoint, create_site, register
from tests.acceptance.deployment.process import RunningProcess
from tests.acceptance.deployment.team import PLATFORM, Team, create_team

from isthmus.transport.errors import GatewayError

ENDPOINT = "app"
TASK_QUEUE = "app-queue"
_KEY_FILE = "statement-key.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoTeams:
    """A deployment: everything that survives its processes."""

    folder: Path
    site: GatewaySite
    platform: Team
    caller: Team
    handler: Team

    def register(self, gateway: RunningProcess) -> None:
        """Tell a running gateway of the teams and of the endpoint; once in its life."""
        try:
            register(self.site, platform=self.platform, teams=[self.caller, self.handler])
            create_endpoint(self.site, self.handler, ENDPOINT, task_queue=TASK_QUEUE, callers=[self.caller])
        except GatewayError as error:
            raise AssertionError(f"{error}\n{gateway.tail()}") from error

    def start(self, team: Team, *module: str, name: str) -> RunningProcess:
        """Start a program of a team: a module with its arguments."""
        return RunningProcess(
            name,
            module,
            environment=team.environment(self.site.address),
            output=self.folder / f"{name}.log",
            forked=self.site.forked,
        )


def create_two_teams(
    folder: Path, *, lease_seconds: int = 30, more_config: str = "", forked: bool = False
) -> TwoTeams:
    """Make teams that trust each other, and a gateway that knows their tokens; nothing runs yet.

    ``more_config`` and ``forked`` as in ``create_site``.
    """
    platform, caller, handler = (
        create_team(folder, namespace) for namespace in (PLATFORM, "data-team", "app-team")
    )
    caller.pin(handler, ENDPOINT)
    handler.pin(caller)
    site = create_site(
        folder / "gateway",
        [platform, caller, handler],
        lease_seconds=lease_seconds,
        more_config=more_config,
        forked=forked,
    )
    return TwoTeams(folder=folder, site=site, platform=platform, caller=caller, handler=handler)


def second_site(teams: TwoTeams, more_config: str) -> GatewaySite:
    """Return another gateway that has the key of the first, which has been started."""
    site = create_site(
        teams.folder / "gateway-2", [teams.platform, teams.caller, teams.handler], more_config=more_config
    )
    site.database.parent.mkdir(mode=0o700)
    shutil.copy(teams.site.database.parent / _KEY_FILE, site.database.parent / _KEY_FILE)
    return site
