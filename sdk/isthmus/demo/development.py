"""What ``isthmus dev`` runs: a gateway and the workers of two demo teams, until somebody stops it."""

import fcntl
import json
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from isthmus.demo.dataset import load_airports
from isthmus.demo.deployment import APP_TEAM, DATA_TEAM, Deployment, write_deployment
from isthmus.demo.processes import DemoError, Processes, is_listening
from isthmus.demo.provisioning import provision

LEASE_SECONDS = 10
START_SECONDS = 30.0
_SAMPLE_ROWS = 20
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def start_gateway(processes: Processes, deployment: Deployment) -> None:
    """Start the gateway of a deployment and return when it answers. Raises DemoError."""
    arguments = ["isthmus.cli", "gateway", "run", "--config", str(deployment.gateway_config)]
    processes.start("gateway", arguments, {})
    processes.wait_until(
        lambda: is_listening(deployment.port), what="the gateway to listen", seconds=START_SECONDS
    )


def environment_of(deployment: Deployment, team: str) -> dict[str, str]:
    """Return what a team's program needs to know: its profile, and nothing of the other team's."""
    return {"ISTHMUS_CONFIG": str(deployment.profiles), "ISTHMUS_PROFILE": team}


def run(directory: Path, *, port: int, with_teams: bool, say: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM; nothing is left running then.

    Raises:
        DemoError: port or directory are taken, or a process ends by itself. GatewayError: setting up failed.
    """
    if is_listening(port):
        raise DemoError(f"something listens on port {port} already; choose another one with --port")
    with _alone_in(directory):
        _run(directory, port=port, with_teams=with_teams, say=say)


def _run(directory: Path, *, port: int, with_teams: bool, say: Callable[[str], None]) -> None:
    deployment = write_deployment(directory, port=port, lease_seconds=LEASE_SECONDS)
    logs = deployment.directory / "logs"
    logs.mkdir(mode=0o700, exist_ok=True)
    with stop_signals() as stopping, Processes(logs) as processes:
        start_gateway(processes, deployment)
        provision(deployment)
        if with_teams:
            for team, program in ((APP_TEAM, "app_team"), (DATA_TEAM, "data_team")):
                serving = [f"isthmus.demo.{program}"] + (["--serve-only"] if team == DATA_TEAM else [])
                processes.start(team, serving, environment_of(deployment, team))
            _write_sample(deployment.directory / "batch.json")
        say(_welcome(deployment, with_teams=with_teams))
        while not stopping.wait(0.5):
            processes.check()
        say("Stopping.")


@contextmanager
def _alone_in(directory: Path) -> Generator[None]:
    """Keep others out of a directory: they would write another port into the profiles of what runs here."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "dev.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(
                f"another isthmus dev runs on {directory}; stop it, or choose another directory with --dir"
            ) from None
        yield


@contextmanager
def stop_signals() -> Generator[threading.Event]:
    """Turn Ctrl-C, SIGTERM and the end of the terminal into an event."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        stopping.set()

    before = {number: signal.signal(number, stop) for number in _STOPPING}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_sample(path: Path) -> None:
    rows = load_airports().rows[:_SAMPLE_ROWS]
    path.write_text(json.dumps({"number": 1, "rows": rows}, indent=1), encoding="utf-8")


def _welcome(deployment: Deployment, *, with_teams: bool) -> str:
    directory = deployment.directory
    lines = [
        f"The gateway listens on {deployment.address}. Keys, profiles, logs and database are in {directory}.",
        "For development only: teams that nobody pinned are trusted on first use, on the gateway's word.",
        "",
        "Try, in another terminal:",
        "",
        f"  export ISTHMUS_CONFIG={deployment.profiles}",
        "  isthmus profile list",
        "  isthmus --profile data-team whoami",
        "  isthmus --profile app-team endpoint list",
    ]
    if with_teams:
        calling = "isthmus --profile data-team call"
        lines += [
            f"  {calling} routes RoutePlanning find_hub --set latitude=47.46 --set longitude=8.55",
            f"  {calling} routes RoutePlanning place_batch --input {directory / 'batch.json'}",
            "  isthmus --profile app-team call datasets Datasets describe --set dataset=airports",
        ]
    lines += [
        "  isthmus --profile app-team endpoint create payments --allow data-team",
        "  isthmus --profile app-team keys rotate",
        "  isthmus --profile data-team audit query --since 1h",
        "",
        "Stop with Ctrl-C.",
    ]
    return "\n".join(lines)
