"""A file goes through two processes that are smaller than the file.

The full size: ``ISTHMUS_LARGE_MIB=1024 pytest tests/acceptance/test_large_files.py -s``.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.acceptance.deployment.process import RunningProcess
from tests.acceptance.deployment.team import Team
from tests.acceptance.deployment.two_teams import TwoTeams, create_two_teams
from tests.acceptance.large.files import PIECE_BYTES, peak_bytes
from tests.integration.s3_server import BUCKET, s3_server, variables

MEBIBYTES = int(os.environ.get("ISTHMUS_LARGE_MIB", "128"))
# Smaller than the smallest file that is sent; 60 to 95 MB are used.
MOST_BYTES = 120_000_000
SECONDS = 60 + MEBIBYTES


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A place for blobs, and what its users need in their environment."""
    with ExitStack() as stack:
        if request.param == "file":
            yield f"file://{tmp_path}/blobs/", {}
        else:
            yield f"s3://{BUCKET}/", variables(stack.enter_context(s3_server()))


def program(
    deployment: TwoTeams, store: tuple[str, dict[str, str]], *module: str, team: Team, peer: Team
) -> RunningProcess:
    """Start a program of a team that writes below its own name and reads below its peer's."""
    root, more = store
    spool = deployment.folder / f"{team.namespace}-spool"
    spool.mkdir()
    blobs = {
        "ISTHMUS_BLOB_STORE": f"{root}{team.namespace}/",
        "ISTHMUS_BLOB_PREFIXES": f"{peer.namespace}={root}{peer.namespace}/",
        "ISTHMUS_BLOB_SPOOL": str(spool),
    }
    return RunningProcess(
        team.namespace,
        module,
        environment=team.environment(deployment.site.address) | blobs | more,
        output=deployment.folder / f"{team.namespace}.log",
    )


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.timeout(2 * SECONDS)
def test_memory_stays_small_when_a_large_file_is_sent_and_returned(
    tmp_path: Path, store: tuple[str, dict[str, str]]
) -> None:
    """The file is larger than what caller and worker ever have in memory; no temporary file is left."""
    source = tmp_path / "source"
    with source.open("wb") as file:
        for _ in range(MEBIBYTES):
            file.write(os.urandom(PIECE_BYTES))
    deployment = create_two_teams(tmp_path)
    gateway = deployment.site.start()
    running = [gateway]
    try:
        deployment.register(gateway)
        data_team, app_team = deployment.caller, deployment.handler
        worker = program(
            deployment, store, "tests.acceptance.large.worker_program", team=app_team, peer=data_team
        )
        running.append(worker)
        caller = program(
            deployment,
            store,
            "tests.acceptance.large.caller_program",
            str(source),
            team=data_team,
            peer=app_team,
        )
        running.append(caller)
        assert caller.join(seconds=SECONDS) == 0, caller.tail() + worker.tail()
        verdict, caller_bytes = caller.tail().split()[-2:]
        worker_bytes = peak_bytes(worker.pid)
        sys.stdout.write(f"{MEBIBYTES} MiB: caller {caller_bytes} bytes, worker {worker_bytes} bytes\n")
        assert worker.terminate(seconds=30) == 0
    finally:
        for process in running:
            if process.exit_code is None:
                process.kill()
    assert verdict == "same"
    assert max(int(caller_bytes), worker_bytes) < MOST_BYTES
    assert [path for spool in tmp_path.glob("*-spool") for path in spool.iterdir()] == []
    database = b"".join(path.read_bytes() for path in deployment.site.database.parent.iterdir())
    assert b".sealed" not in database
    assert store[0].encode() not in database
