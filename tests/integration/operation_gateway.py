"""A gateway on loopback: real store, real gRPC, real tokens. Only its clock is the test's."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.integration.sealed_messages import CALLER, ENDPOINT, HANDLER, TASK_QUEUE, TRUST_DOMAIN
from tests.unit.gateway.manual_time import START, FixedRandomness, ManualClock, ManualTimers

from isthmus.endpoints.endpoint import (
    DEFAULT_RETENTION,
    AllowRule,
    CircuitSettings,
    Endpoint,
    RetrySettings,
)
from isthmus.endpoints.versions import VersionSettings
from isthmus.gateway.api.access import ACCESS
from isthmus.gateway.api.authentication import AuthenticationInterceptor
from isthmus.gateway.assembly import Assembly, assemble
from isthmus.gateway.authn.authenticator import Authenticator
from isthmus.gateway.authn.development import DevelopmentIssuer
from isthmus.gateway.authn.failed_attempts import FailedAttempts
from isthmus.gateway.config.settings import GatewayConfig
from isthmus.gateway.loops.circuits import CircuitReviews
from isthmus.gateway.loops.drained_endpoints import DrainedEndpoints
from isthmus.gateway.loops.lost_sessions import LostSessions
from isthmus.gateway.loops.retention import Retention
from isthmus.gateway.loops.timeouts import Timeouts
from isthmus.gateway.metrics.exposition import Exposition
from isthmus.gateway.metrics.instruments import Instruments
from isthmus.gateway.ports import Namespace, RegistryChanged, Signal, Store, StoredKeyset, UnitOfWork
from isthmus.gateway.server import exposition_of
from isthmus.gateway.statement_key import StatementKey
from isthmus.gateway.system import Surroundings
from isthmus.v1 import (
    endpoint_service_pb2_grpc,
    operation_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)
from isthmus.wire.names import EndpointName, NamespaceName

SUBJECT = "process"
ALLOW_CALLER = (AllowRule(namespace=CALLER),)


@dataclass(slots=True, kw_only=True)
class RunningGateway:
    """The gateway, and what a test looks at or turns."""

    store: Store
    clock: ManualClock
    timers: ManualTimers
    assembly: Assembly
    timeouts: Timeouts
    lost_sessions: LostSessions
    circuits: CircuitReviews
    metrics: Exposition
    signer: StatementKey
    issuer: DevelopmentIssuer
    address: str
    commits: list[Sequence[Signal]]
    stop: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    def client(self, namespace: str) -> "Client":
        """Connect as a namespace."""
        token = self.issuer.mint(
            namespace=namespace, subject=SUBJECT, now=self.clock.at, lifetime=timedelta(hours=12)
        )
        channel = grpc.aio.insecure_channel(self.address)
        self.stop.push_async_callback(channel.close)
        return Client(channel, token)

    def advance(self, **duration: float) -> None:
        """Move the time."""
        self.timers.advance(timedelta(**duration))

    async def delete_drained(self) -> None:
        """Delete endpoints that have drained, as the loop does from time to time."""
        drained = DrainedEndpoints(self.store, clock=self.clock, randomness=FixedRandomness())
        while await drained.step():
            pass

    async def retire(self) -> None:
        """Delete everything whose retention is over, as the loop does from time to time."""
        retention = Retention(self.store, clock=self.clock)
        while await retention.step():
            pass

    async def put_endpoint(
        self,
        name: str = ENDPOINT,
        *,
        allow: tuple[AllowRule, ...] = ALLOW_CALLER,
        retry: RetrySettings | None = None,
        max_payload_bytes: int = 0,
        max_operations_per_second: int = 0,
        max_open_operations: int = 0,
        retention: timedelta = DEFAULT_RETENTION,
        circuit: CircuitSettings | None = None,
        versions: VersionSettings | None = None,
    ) -> None:
        """Register an endpoint of the handler."""
        endpoint = Endpoint(
            name=EndpointName(name),
            namespace=HANDLER,
            task_queue=TASK_QUEUE,
            allow=allow,
            retry=retry or RetrySettings(),
            max_payload_bytes=max_payload_bytes,
            max_operations_per_second=max_operations_per_second,
            max_open_operations=max_open_operations,
            retention=retention,
            circuit=circuit or CircuitSettings(),
            versions=versions or VersionSettings(),
            etag="1",
            created_at=START,
            updated_at=START,
        )

        def command(uow: UnitOfWork) -> None:
            uow.put_endpoint(endpoint)
            uow.signal(RegistryChanged(namespace=HANDLER, endpoint=name))

        await self.store.transact(command)

    async def put_keyset(self, namespace: str, version: int, keyset: bytes) -> None:
        """Publish a keyset, past the checks of the key service."""
        stored = StoredKeyset(
            namespace=NamespaceName(namespace),
            version=version,
            keyset=keyset,
            message=b"what vouches for it",
            published_at=START,
        )

        def command(uow: UnitOfWork) -> None:
            uow.put_keyset(stored)
            uow.signal(RegistryChanged(namespace=namespace))

        await self.store.transact(command)


class Client:
    """Stubs that send a token."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self.channel = channel
        self.metadata = (("authorization", f"Bearer {token}"),)
        # The stubs of an asynchronous channel have a type of their own, which only stub files know.
        operations: Any = operation_service_pb2_grpc.OperationServiceStub(channel)
        workers: Any = worker_service_pb2_grpc.WorkerServiceStub(channel)
        endpoints: Any = endpoint_service_pb2_grpc.EndpointServiceStub(channel)
        self.operations: operation_service_pb2_grpc.OperationServiceAsyncStub = operations
        self.workers: worker_service_pb2_grpc.WorkerServiceAsyncStub = workers
        self.endpoints: endpoint_service_pb2_grpc.EndpointServiceAsyncStub = endpoints


def worker_hello(
    session_id: bytes, *, task_queue: str = TASK_QUEUE, version: str = ""
) -> worker_service_pb2.WorkerHello:
    """Return the hello of a worker."""
    return worker_service_pb2.WorkerHello(
        session_id=session_id, task_queue=task_queue, identity="worker-1", version=version
    )


class Worker:
    """One connection of a worker session; what the gateway sends is gathered in queues."""

    def __init__(self, client: Client, session_id: bytes = b"s" * 16) -> None:
        self.session_id = session_id
        self.tasks: asyncio.Queue[worker_service_pb2.Task] = asyncio.Queue()
        self.acks: asyncio.Queue[worker_service_pb2.OutcomeAck] = asyncio.Queue()
        self.interrupts: asyncio.Queue[worker_service_pb2.TaskInterrupt] = asyncio.Queue()
        self.report_acks: asyncio.Queue[worker_service_pb2.ReportAck] = asyncio.Queue()
        self.signals: asyncio.Queue[worker_service_pb2.TaskSignals] = asyncio.Queue()
        self.first = asyncio.Event()
        self.drained = asyncio.Event()
        self._call = client.workers.Work(metadata=client.metadata)
        self._reader = asyncio.create_task(self._read())

    async def hello(self, grant: int = 0, *, task_queue: str = TASK_QUEUE, version: str = "1") -> "Worker":
        """Say hello, grant credits, and return when the gateway has answered."""
        hello = worker_hello(self.session_id, task_queue=task_queue, version=version)
        await self._call.write(worker_service_pb2.WorkRequest(hello=hello, credits=grant))
        first = asyncio.create_task(self.first.wait())
        await asyncio.wait({first, self._reader}, return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        if self._reader.done():
            self._reader.result()
        return self

    async def send(
        self,
        *outcomes: worker_service_pb2.TaskOutcome,
        grant: int = 0,
        reports: Sequence[worker_service_pb2.TaskReport] = (),
        reads: Sequence[worker_service_pb2.SignalRead] = (),
    ) -> None:
        """Send a frame; an empty one is a heartbeat."""
        await self._call.write(
            worker_service_pb2.WorkRequest(
                outcomes=outcomes, credits=grant, reports=reports, signal_reads=reads
            )
        )

    async def report(self, report: worker_service_pb2.TaskReport) -> worker_service_pb2.ReportAck:
        """Send a report and return its acknowledgement."""
        await self.send(reports=[report])
        return await self.report_acks.get()

    async def answer(
        self, outcome: worker_service_pb2.TaskOutcome, *, grant: int = 0
    ) -> worker_service_pb2.OutcomeAck:
        """Send an outcome and return its acknowledgement."""
        await self.send(outcome, grant=grant)
        return await self.acks.get()

    async def disconnect(self) -> None:
        """Break the stream."""
        self._call.cancel()
        await asyncio.wait({self._reader})

    async def finish(self) -> None:
        """Say no more, and read to the end."""
        await self._call.done_writing()
        await self._reader

    async def _read(self) -> None:
        async for frame in self._call:
            for task in frame.tasks:
                self.tasks.put_nowait(task)
            for ack in frame.acks:
                self.acks.put_nowait(ack)
            for report_ack in frame.report_acks:
                self.report_acks.put_nowait(report_ack)
            for signals in frame.signals:
                self.signals.put_nowait(signals)
            for interrupt in frame.interrupts:
                self.interrupts.put_nowait(interrupt)
            if frame.drain:
                self.drained.set()
            self.first.set()


@contextlib.asynccontextmanager
async def running_gateway(
    store: Store, *, clock: ManualClock | None = None, issuer: DevelopmentIssuer | None = None
) -> AsyncGenerator[RunningGateway, None]:
    """Run a gateway over a store, which it opens and closes; another one may run over its data afterwards."""
    clock = clock or ManualClock()
    timers = ManualTimers(clock)
    issuer = issuer or DevelopmentIssuer(Ed25519PrivateKey.generate())
    signer = StatementKey(Ed25519PrivateKey.from_private_bytes(b"k" * 32))
    await store.open()
    commits: list[Sequence[Signal]] = []
    store.subscribe(commits.append)
    await store.transact(_create_namespaces)
    assembly = assemble(
        GatewayConfig(trust_domain=TRUST_DOMAIN, data_dir=Path()),
        store=store,
        signer=signer,
        surroundings=Surroundings(clock=clock, wall_clock=clock, timers=timers, randomness=FixedRandomness()),
    )
    store.subscribe(assembly.on_signals)
    instruments = Instruments()
    store.subscribe(instruments.on_signals)
    store.watch_commits(instruments.committed)
    await assembly.dispatcher.circuits.refresh()
    await assembly.dispatcher.routes.refresh()
    interceptor = AuthenticationInterceptor(
        table=ACCESS,
        authenticator=Authenticator([issuer.profile()], clock),
        failed=FailedAttempts(),
        store=store,
        clock=clock,
        refusals=instruments.refused.add,
    )
    server = grpc.aio.server(interceptors=[interceptor])
    for service in assembly.services:
        service.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    running = RunningGateway(
        store=store,
        clock=clock,
        timers=timers,
        assembly=assembly,
        timeouts=Timeouts(store, clock=clock),
        lost_sessions=LostSessions(
            store, clock=clock, randomness=FixedRandomness(), drop=assembly.dispatcher.drop
        ),
        metrics=exposition_of(assembly, instruments, store=store, clock=clock, is_ready=lambda: True),
        circuits=CircuitReviews(assembly.dispatcher),
        signer=signer,
        issuer=issuer,
        address=f"127.0.0.1:{port}",
        commits=commits,
    )
    await running.put_endpoint()
    commits.clear()
    try:
        yield running
    finally:
        await running.stop.aclose()
        await server.stop(None)
        await assembly.dispatcher.close()
        await store.close()


def _create_namespaces(uow: UnitOfWork) -> None:
    for name in (CALLER, HANDLER, "stranger"):
        if uow.namespace(name) is None:
            uow.insert_namespace(Namespace(name=NamespaceName(name), description="", created_at=START))
