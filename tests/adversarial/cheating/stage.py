"""The honest part: a gateway, the teams that trust each other's pins, and what they serve."""

import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import nexusrpc
import nexusrpc.handler
from tests.adversarial.cheating.hurry import KEY_CACHE_SECONDS
from tests.adversarial.cheating.truth import Run, Truth

from isthmus.client import Client
from isthmus.client.profile import Profile
from isthmus.gateway.authn.development import DevelopmentIssuer
from isthmus.gateway.config.settings import GatewayConfig, IssuerSettings, ListenSettings
from isthmus.gateway.server import Gateway
from isthmus.gateway.statement_key import StatementKey
from isthmus.keys import rotation
from isthmus.keys.contents import new_key
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.keyring_format import KdfParameters, new_salt
from isthmus.keys.statements import next_keyset, sign_keyset
from isthmus.keys.trust import TrustStore
from isthmus.testing.local_token import LocalToken
from isthmus.testing.registration import create_namespace, publish_keys
from isthmus.transport.async_stubs import endpoint_stub_of
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.connection import Connection
from isthmus.v1 import endpoint_service_pb2
from isthmus.wire.public_key import KeyKind, KeyState
from isthmus.wire.trust_statement import SignedKeyset
from isthmus.worker import current
from isthmus.worker.tasks import Stop

TRUST_DOMAIN = "cheated.isthmus.internal"
PASSPHRASE = b"the files are gone soon"
ENOUGH = "enough"
_MOST_KEYS = 10
_EXAMPLES_OF_A_TEAM = 8
# A private folder is made in it: the disk is not what is tested.
_IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


@nexusrpc.service
class Work:
    """What teams call each other for. Inputs, results, signals and progress are numbers that occur once."""

    answer: nexusrpc.Operation[int, int]
    refuse: nexusrpc.Operation[int, int]
    stay: nexusrpc.Operation[int, int]


@nexusrpc.handler.service_handler(service=Work)
@dataclass(slots=True, kw_only=True)
class WorkHandler:
    """Serves Work in one worker, and writes down what it does."""

    truth: Truth
    worker: str
    namespace: str
    numbers: "itertools.count[int]"
    release: asyncio.Event
    """Whoever stays may go."""

    @nexusrpc.handler.sync_operation
    async def answer(self, context: nexusrpc.handler.StartOperationContext, number: int) -> int:
        """Return the number of this run."""
        return self._begin(context, number).number

    @nexusrpc.handler.sync_operation
    async def refuse(self, context: nexusrpc.handler.StartOperationContext, number: int) -> int:
        """Fail for good, with the number of this run."""
        run = self._begin(context, number)
        raise nexusrpc.OperationError(f"run {run.number} fails", state=nexusrpc.OperationErrorState.FAILED)

    @nexusrpc.handler.sync_operation
    async def stay(self, context: nexusrpc.handler.StartOperationContext, number: int) -> int:
        """Report progress, hear signals, and return the number of this run when there is enough."""
        run = self._begin(context, number)
        jobs = [asyncio.create_task(self._listen(run)), asyncio.create_task(self._released())]
        try:
            for _ in range(2):
                current().progress(next(self.numbers))
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            for job in done:
                job.result()
        except asyncio.CancelledError:
            if context.task_cancellation.cancellation_reason() == Stop.CANCELED.value:
                self.truth.canceled(run)
            raise
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
        return run.number

    def _begin(self, context: nexusrpc.handler.StartOperationContext, number: int) -> Run:
        about = current()
        return self.truth.begin(
            Run(
                number=next(self.numbers),
                worker=self.worker,
                namespace=self.namespace,
                caller=about.caller_namespace,
                endpoint=about.endpoint,
                operation=about.operation,
                operation_id=context.request_id,
                input=number,
            )
        )

    async def _released(self) -> None:
        await self.release.wait()

    async def _listen(self, run: Run) -> None:
        async for signal in current().signals():
            self.truth.hear(run, signal.session, signal.sequence, signal.value)
            current().progress(next(self.numbers))
            if signal.name == ENOUGH:
                return


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """A namespace, and the files that its processes share."""

    namespace: str
    keyring: FileKeyring
    keyring_file: Path
    trust_file: Path
    credentials: LocalToken

    def trust(self) -> TrustStore:
        """Open its trust store, as each of its processes does."""
        return TrustStore(self.trust_file, trust_domain=TRUST_DOMAIN)

    async def connect(self, address: str) -> Client:
        """Connect a process of its own. Raises what Client.connect raises."""
        return await Client.connect(
            address,
            profile=Profile(key_cache_seconds=KEY_CACHE_SECONDS),
            keyring=FileKeyring(self.keyring_file, PASSPHRASE),
            trust=self.trust(),
            credentials=self.credentials,
        )

    def key_ids(self) -> frozenset[bytes]:
        """Return the ids of all encryption keys that it ever had."""
        keys = self.keyring.contents.keys
        return frozenset(bytes(key.record.key_id) for key in keys if key.record.kind is KeyKind.ENCRYPTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A real gateway that is honest, and serves one example after the other."""

    address: str
    folder: Path
    issuer: DevelopmentIssuer
    statement_key: StatementKey
    platform: Connection
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    """Of examples."""
    _teams: dict[str, Team] = field(default_factory=dict)
    _forged: dict[str, SignedKeyset] = field(default_factory=dict)

    async def teams(self, names: Sequence[str], example: int) -> dict[str, Team]:
        """Return namespaces that trust nobody yet; some examples after each other use the same keys."""
        if example % _EXAMPLES_OF_A_TEAM == 0 or not self._teams:
            for name in names:
                self._teams[name] = await self._team(f"{name}-{example}")
        trust_file = self.folder / f"{example}.trust"
        return {
            name: replace(team, trust_file=trust_file.with_name(f"{name}-{trust_file.name}"))
            for name, team in self._teams.items()
        }

    def forged_keyset(self, namespace: str) -> SignedKeyset:
        """Return a keyset for a namespace that nobody signed but who wants to be it."""
        if namespace not in self._forged:
            keyring = make_keyring(self.folder / f"{namespace}.forged", namespace=namespace)
            keyset = next_keyset(keyring.contents, now_ms=time.time_ns() // 1_000_000)
            self._forged[namespace] = sign_keyset(keyset, keyring.contents, keyring.signer_key())
        return self._forged[namespace]

    async def _team(self, name: str) -> Team:
        await create_namespace(self.platform, name)
        path = self.folder / f"{name}.keyring"
        keyring = make_keyring(path, namespace=name)
        team = Team(
            namespace=name,
            keyring=keyring,
            keyring_file=path,
            trust_file=self.folder / f"{name}.trust",
            credentials=LocalToken(self.issuer, namespace=name, subject="test"),
        )
        async with self._as(team) as connection:
            await publish_keys(connection, keyring)
        return team

    async def endpoint(self, owner: Team, name: str, *, queue: str, callers: Sequence[Team]) -> None:
        """Register an endpoint whose failed attempts are repeated soon."""
        endpoint = endpoint_service_pb2.Endpoint(name=name, task_queue=queue)
        endpoint.retry.initial_interval_ms = 10
        endpoint.retry.max_interval_ms = 100
        endpoint.circuit.off = True
        for caller in callers:
            endpoint.allow.add(namespace=caller.namespace)
        async with self._as(owner) as connection:
            await connection.call(
                endpoint_stub_of(connection).CreateEndpoint,
                endpoint_service_pb2.CreateEndpointRequest(endpoint=endpoint),
                timeout_seconds=10,
            )

    async def rotate(self, team: Team, kind: KeyKind) -> bool:
        """Put a new key to use, as the team's administrator; say whether there was room for one."""
        if len(team.keyring.contents.keys) >= _MOST_KEYS:
            return False
        key = new_key(kind, state=KeyState.PRE_PUBLISHED, now_ms=time.time_ns() // 1_000_000)
        async with self._as(team) as connection:
            team.keyring.update(lambda contents: rotation.pre_publish(contents, key))
            await publish_keys(connection, team.keyring)
            team.keyring.update(lambda contents: rotation.activate(contents, kind))
            await publish_keys(connection, team.keyring)
        return True

    @asynccontextmanager
    async def _as(self, team: Team) -> AsyncGenerator[Connection]:
        connection = Connection(ChannelSettings(address=self.address), team.credentials)
        try:
            yield connection
        finally:
            await connection.close()


def make_keyring(path: Path, *, namespace: str) -> FileKeyring:
    """Make the keys of a namespace: anybody can, for any name."""
    return FileKeyring.create(
        path,
        PASSPHRASE,
        namespace=namespace,
        trust_domain=TRUST_DOMAIN,
        now_ms=time.time_ns() // 1_000_000,
        parameters=KdfParameters(salt=new_salt(), memory_kib=8, iterations=1, lanes=1),
    )


@asynccontextmanager
async def running_stage() -> AsyncGenerator[Stage]:
    """Run an honest gateway."""
    async with AsyncExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(
                    prefix="isthmus-cheat-", dir=_IN_MEMORY, ignore_cleanup_errors=True
                )
            )
        )
        config = GatewayConfig(
            trust_domain=TRUST_DOMAIN,
            data_dir=folder / "gateway",
            lease_seconds=5,
            drain_seconds=1,
            listen=ListenSettings(address="127.0.0.1:0"),
            issuers=(IssuerSettings(kind="development"),),
        )
        gateway = await Gateway.start(config)
        stack.push_async_callback(gateway.stop, 1.0)
        issuer = DevelopmentIssuer.load_or_create(config.data_dir)
        platform = Connection(
            ChannelSettings(address=gateway.address),
            LocalToken(issuer, namespace="platform", subject="test"),
        )
        stack.push_async_callback(platform.close)
        yield Stage(
            address=gateway.address,
            folder=folder,
            issuer=issuer,
            statement_key=StatementKey.load_or_create(config.data_dir),
            platform=platform,
        )
