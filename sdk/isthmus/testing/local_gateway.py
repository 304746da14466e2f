"""A gateway on a free loopback port of this process, with keys, credentials and pins for every namespace."""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from isthmus.client.client import Client
from isthmus.client.profile import Profile
from isthmus.client.sync import SyncClient
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.keyring_format import KdfParameters, new_salt
from isthmus.keys.trust import TrustStore
from isthmus.testing.local_token import LocalToken
from isthmus.testing.registration import (
    create_endpoint,
    create_namespace,
    publish_endpoint_record,
    publish_keys,
)
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.connection import Connection
from isthmus.transport.credentials import TokenSource
from isthmus.transport.errors import ConfigurationError
from isthmus.wire.endpoint_record import EndpointRecord
from isthmus.worker.worker import Worker

if TYPE_CHECKING:
    from isthmus.gateway.authn.development import DevelopmentIssuer
    from isthmus.gateway.server import Gateway

TRUST_DOMAIN: Final = "test.isthmus.internal"
_SUBJECT = "test"
_PLATFORM = "platform"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalNamespace:
    """A namespace with everything that its clients need: the arguments of ``Client.connect``."""

    name: str
    keyring: FileKeyring
    trust: TrustStore
    credentials: TokenSource
    address: str

    @property
    def fingerprint(self) -> bytes:
        """What others pin of it."""
        return self.keyring.contents.fingerprint


class LocalGateway:
    """A real gateway for tests: the same code over the same wire, on a temporary SQLite file.

    ``async with LocalGateway() as gateway`` starts it and, at the end of the block, closes the clients that
    it handed out, stops, and removes its files. A namespace is made when it is named for the first time; all
    namespaces trust each other.
    """

    def __init__(self, *, lease_seconds: int = 5, trust_domain: str = TRUST_DOMAIN) -> None:
        """Prepare a gateway; nothing is started yet.

        Args:
            lease_seconds: how long a worker that went silent keeps its tasks, 5 to 600.
            trust_domain: name of the deployment.
        """
        self._lease_seconds = lease_seconds
        self._trust_domain = trust_domain
        # Empty: a file. This project's own tests name a server here.
        self._dsn = ""
        self._stack = AsyncExitStack()
        self._directory = Path()
        self._gateway: Gateway | None = None
        self._issuer: DevelopmentIssuer | None = None
        self._platform: Connection | None = None
        self._namespaces: dict[str, LocalNamespace] = {}
        self._clients: dict[str, Client] = {}
        self._endpoints: dict[str, str] = {}

    @property
    def address(self) -> str:
        """``host:port`` where it listens."""
        return self._running().address

    async def namespace(self, name: str) -> LocalNamespace:
        """Return a namespace; the first time, make it with keys, and let everybody trust everybody.

        Raises:
            GatewayError: the name is not valid.
        """
        found = self._namespaces.get(name)
        if found is not None:
            return found
        await create_namespace(self._platform_connection(), name)
        made = LocalNamespace(
            name=name,
            keyring=FileKeyring.create(
                self._directory / f"{name}.keyring",
                secrets.token_bytes(16),
                namespace=name,
                trust_domain=self._trust_domain,
                now_ms=time.time_ns() // 1_000_000,
                # The passphrase is random and the file is gone soon: stretching would only cost time.
                parameters=KdfParameters(salt=new_salt(), memory_kib=8, iterations=1, lanes=1),
            ),
            trust=TrustStore(None, trust_domain=self._trust_domain),
            credentials=self._credentials(name),
            address=self.address,
        )
        connection = self._connect(name)
        try:
            await publish_keys(connection, made.keyring)
        finally:
            await connection.close()
        self._namespaces[name] = made
        self._pin()
        return made

    async def endpoint(
        self,
        name: str,
        *,
        namespace: str,
        task_queue: str | None = None,
        allow: Sequence[str] = (),
        max_attempts: int = 0,
    ) -> None:
        """Make an endpoint.

        Args:
            name: unique in this gateway.
            namespace: who serves it; made if it is not there.
            task_queue: the queue that its workers poll; default: the endpoint's name.
            allow: who may call, each ``namespace[/service[/operation]]``.
            max_attempts: delivery attempts before the operation fails; 0 for no limit.

        Raises:
            GatewayError: it exists, or a name is not valid.
        """
        await self.namespace(namespace)
        connection = self._connect(namespace)
        try:
            await create_endpoint(
                connection, name, task_queue=task_queue or name, allow=allow, max_attempts=max_attempts
            )
        finally:
            await connection.close()
        self._endpoints[name] = namespace
        self._pin()

    async def sign_endpoint(
        self,
        name: str,
        *,
        task_queue: str | None = None,
        required_recipients: Sequence[str] | None = None,
        contract_hash: bytes | None = None,
    ) -> EndpointRecord:
        """Let the owner of an endpoint sign how it is served, and publish that.

        Args:
            name: an endpoint of this gateway.
            task_queue: the queue that its workers poll; default: as signed before, or the endpoint's name.
            required_recipients: who reads along; every namespace consents, its own trust store says so.
            contract_hash: 32 bytes, or nothing.

        Raises:
            GatewayError: a name is not valid.
        """
        for recipient in required_recipients or ():
            await self.namespace(recipient)
            for about in self._namespaces.values():
                about.trust.set_recipient(recipient, consent=True)
        owner = self._namespaces[self._endpoints[name]]
        connection = self._connect(owner.name)
        try:
            return await publish_endpoint_record(
                connection,
                owner.keyring,
                name,
                task_queue=task_queue,
                required_recipients=required_recipients,
                contract_hash=contract_hash,
            )
        finally:
            await connection.close()

    async def client(self, namespace: str, *, profile: Profile | None = None) -> Client:
        """Return the client of a namespace, one for the whole test; it is closed with the gateway.

        Args:
            namespace: whose client it is.
            profile: settings beside those that the gateway gives, such as ``blob_store``, the first time.
        """
        found = self._clients.get(namespace)
        if found is None:
            about = await self.namespace(namespace)
            found = await Client.connect(
                about.address,
                # An empty one: what the developer's shell says about a real gateway is not for tests.
                profile=profile or Profile(),
                keyring=about.keyring,
                trust=about.trust,
                credentials=about.credentials,
            )
            self._clients[namespace] = await self._stack.enter_async_context(found)
        return found

    async def sync_client(self, namespace: str) -> SyncClient:
        """Return a new sync client of a namespace, for a thread; it is closed with the gateway."""
        about = await self.namespace(namespace)

        def connect() -> SyncClient:
            return SyncClient.connect(
                about.address,
                profile=Profile(),
                keyring=about.keyring,
                trust=about.trust,
                credentials=about.credentials,
            )

        # In a thread: the gateway that answers lives on this event loop.
        return self._stack.enter_context(await asyncio.to_thread(connect))

    @asynccontextmanager
    async def worker(
        self,
        namespace: str,
        *,
        task_queue: str,
        nexus_service_handlers: Sequence[Any],
        **options: Any,
    ) -> AsyncGenerator[Worker]:
        """Serve in the background until the end of the block. Options are those of ``Worker``."""
        client = await self.client(namespace)
        worker = Worker(
            client, task_queue=task_queue, nexus_service_handlers=nexus_service_handlers, **options
        )
        async with worker:
            yield worker

    async def __aenter__(self) -> Self:
        """Start the gateway.

        Raises:
            ConfigurationError: what a gateway needs is not installed.
        """
        try:
            # Teams install the SDK without what a gateway needs; only this test double starts one.
            from isthmus.gateway.authn.development import DevelopmentIssuer  # noqa: PLC0415
            from isthmus.gateway.config.settings import (  # noqa: PLC0415
                GatewayConfig,
                IssuerSettings,
                ListenSettings,
                StoreSettings,
            )
            from isthmus.gateway.server import Gateway  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"LocalGateway needs {error.name}: pip install 'isthmus[gateway]'"
            ) from error
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="isthmus-test-", ignore_cleanup_errors=True)
            )
            self._directory = Path(folder)
            config = GatewayConfig(
                trust_domain=self._trust_domain,
                data_dir=self._directory / "gateway",
                lease_seconds=self._lease_seconds,
                drain_seconds=1,
                listen=ListenSettings(address="127.0.0.1:0"),
                store=StoreSettings(dsn=self._dsn),
                issuers=(IssuerSettings(kind="development"),),
            )
            self._gateway = await Gateway.start(config)
            stack.push_async_callback(self._gateway.stop, 1.0)
            self._issuer = DevelopmentIssuer.load_or_create(config.data_dir)
            self._platform = self._connect(_PLATFORM)
            stack.push_async_callback(self._platform.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the clients, stop the gateway, remove its files."""
        self._clients.clear()
        await self._stack.aclose()
        self._gateway = None

    def _running(self) -> "Gateway":
        if self._gateway is None:
            raise ConfigurationError("the gateway does not run: use it inside of `async with LocalGateway()`")
        return self._gateway

    def _credentials(self, namespace: str) -> TokenSource:
        self._running()
        if self._issuer is None:
            raise AssertionError
        return LocalToken(self._issuer, namespace=namespace, subject=_SUBJECT)

    def _connect(self, namespace: str) -> Connection:
        return Connection(ChannelSettings(address=self.address), self._credentials(namespace))

    def _platform_connection(self) -> Connection:
        self._running()
        if self._platform is None:
            raise AssertionError
        return self._platform

    def _pin(self) -> None:
        """Let every namespace trust every one, itself included, and know whose the endpoints are."""
        for about in self._namespaces.values():
            for other in self._namespaces.values():
                served = tuple(name for name, owner in self._endpoints.items() if owner == other.name)
                about.trust.add(other.name, other.fingerprint, endpoints=served)
