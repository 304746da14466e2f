"""The oldest gateway that the schema lets serve, and this one, on one PostgreSQL database at the same time.

No release is out yet: the commit that brought the revision named ``oldest_gateway`` stands for it. So every
migration since then runs beside a gateway that knows none of them.
"""

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from tests.acceptance.deployment.earlier_code import MODULE, earlier_sources, revision_that_added
from tests.acceptance.deployment.process import RunningProcess
from tests.acceptance.deployment.two_teams import ENDPOINT, TwoTeams, create_two_teams, second_site
from tests.acceptance.talk.steps import Walks
from tests.acceptance.talk.walkers import Walkers, connected

from isthmus.gateway.store.migrate import schema_state
from isthmus.gateway.store.migrations.revisions import migration_config, oldest_gateway
from isthmus.gateway.store.schema_transaction import PostgresqlDatabase

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def earlier_code(tmp_path: Path) -> Path:
    """The sources of the oldest gateway that may serve."""
    scripts = ScriptDirectory.from_config(migration_config())
    script = scripts.get_revision(oldest_gateway(scripts))
    assert script is not None
    path = Path(script.path).resolve()
    added = revision_that_added(f"gateway/{path.relative_to(path.parents[5])}")
    folder = tmp_path / "earlier"
    if not added or not earlier_sources(added, folder):
        pytest.skip(f"git does not know here which commit added {path.name}")
    return folder


def walk(teams: TwoTeams, address: str) -> list[int]:
    """Call through the gateway at an address."""
    with connected(teams, address) as client:
        walks = client.create_nexus_client(ENDPOINT, Walks)
        result: list[int] = walks.execute_operation(Walks.walk, 0)
    return result


def test_both_serve_when_the_oldest_gateway_and_this_one_share_a_database(
    tmp_path: Path, bare_dsn: str, earlier_code: Path
) -> None:
    """The older one makes the schema, this one migrates it beside it; calls cross in both directions."""
    store = f'[store]\ndsn = "{bare_dsn}"'
    teams = create_two_teams(tmp_path, more_config=store)
    walkers = Walkers(teams)
    running: list[RunningProcess] = [teams.site.start(MODULE, str(earlier_code))]
    try:
        teams.register(running[0])
        worker = walkers.start()
        running.append(worker)
        assert walk(teams, teams.site.address) == []
        newer = second_site(teams, store)
        running.append(newer.start_and_wait())
        # Caller at this one, worker at the older one.
        assert walk(teams, newer.address) == []
        assert schema_state(PostgresqlDatabase(bare_dsn)).is_servable
        worker.kill()
        running.append(walkers.start(newer.address))
        # Caller at the older one, worker at this one.
        assert walk(teams, teams.site.address) == []
    finally:
        for process in running:
            process.kill()
