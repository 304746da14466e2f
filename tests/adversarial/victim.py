"""The gateway that is attacked: a process of its own, whose memory and log can be looked at."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import nexusrpc
import nexusrpc.handler
from tests.acceptance.deployment.process import RunningProcess
from tests.acceptance.deployment.team import TRUST_DOMAIN, Team
from tests.acceptance.deployment.two_teams import ENDPOINT, TASK_QUEUE, TwoTeams, create_two_teams

from isthmus.client import Client
from isthmus.keys.trust import TrustStore
from isthmus.worker import Worker

MIB = 1024 * 1024
CALL_SECONDS = 30.0
Metadata = tuple[tuple[str, str | bytes], ...]


@nexusrpc.service
class Echo:
    """Gives back what it gets."""

    say: nexusrpc.Operation[str, str]


@nexusrpc.handler.service_handler(service=Echo)
class EchoHandler:
    """Serves Echo."""

    @nexusrpc.handler.sync_operation
    async def say(self, _context: nexusrpc.handler.StartOperationContext, text: str) -> str:
        """Return the text."""
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A running gateway between two teams."""

    deployment: TwoTeams
    process: RunningProcess

    @property
    def address(self) -> str:
        """``host:port`` where it listens."""
        return self.deployment.site.address

    @property
    def port(self) -> int:
        """The port of the address."""
        return int(self.address.rpartition(":")[2])

    @property
    def caller(self) -> Metadata:
        """The credential of the team that calls."""
        return credential(self.deployment.caller)

    @property
    def handler(self) -> Metadata:
        """The credential of the team that serves."""
        return credential(self.deployment.handler)

    def reset_peak(self) -> None:
        """Begin to measure the peak of its memory anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", encoding="ascii")

    def peak_bytes(self) -> int:
        """The most memory that it used since the peak was reset."""
        return self._status("VmHWM")

    def resident_bytes(self) -> int:
        """The memory that it uses."""
        return self._status("VmRSS")

    def open_files(self) -> int:
        """How many files and sockets it has open."""
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def incidents(self) -> list[str]:
        """What its log says about errors that nobody foresaw."""
        log = self.process.output.read_text(encoding="utf-8", errors="replace")
        return re.findall(r"^.*(?:incident|Traceback|Unexpected|never retrieved).*$", log, re.MULTILINE)

    @asynccontextmanager
    async def client(self, team: Team) -> AsyncGenerator[Client]:
        """Connect a team."""
        client = await Client.connect(
            self.address,
            keyring=team.open_keyring(),
            trust=TrustStore(team.trust_file, trust_domain=TRUST_DOMAIN),
            credentials=team.tokens(),
        )
        async with client:
            yield client

    @asynccontextmanager
    async def channel(self) -> AsyncGenerator[grpc.aio.Channel]:
        """Open a connection that may send and receive whatever it likes."""
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(self.address, options=options) as channel:
            yield channel

    @asynccontextmanager
    async def survives(self, *, most_bytes: int = 200 * MIB) -> AsyncGenerator[None]:
        """Whatever happens inside: what was started before ends well, a new call too; memory is bounded."""
        self.reset_peak()
        before = self.resident_bytes()
        async with self.client(self.deployment.caller) as caller:
            echo = caller.create_nexus_client(ENDPOINT, Echo)
            earlier = await echo.start_operation(Echo.say, "earlier")
            yield
            assert self.process.exit_code is None, self.process.tail()
            grown = self.peak_bytes() - before
            assert grown < most_bytes, f"the gateway used {grown // MIB} MiB more at its peak"
            async with self.client(self.deployment.handler) as serving:
                worker = Worker(serving, task_queue=TASK_QUEUE, nexus_service_handlers=[EchoHandler()])
                async with worker:
                    assert await earlier.result() == "earlier"
                    assert await echo.execute_operation(Echo.say, "now") == "now"
        assert self.incidents() == [], self.process.tail()

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024


def credential(team: Team) -> Metadata:
    """Return the metadata of a good credential."""
    return (("authorization", f"Bearer {team.tokens().token()}"),)


def start_victim(folder: Path, *, log_level: str = "warning") -> Victim:
    """Start a gateway that two teams are registered with."""
    deployment = create_two_teams(folder)
    config = deployment.site.config_file
    text = config.read_text(encoding="utf-8")
    assert 'level = "warning"' in text
    config.write_text(text.replace('level = "warning"', f'level = "{log_level}"'), encoding="utf-8")
    process = deployment.site.start()
    deployment.register(process)
    return Victim(deployment=deployment, process=process)
