"""A gateway: starts, serves, drains. In a process of its own or inside of another one."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Self

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from isthmus.gateway.api.access import ACCESS, check_access
from isthmus.gateway.api.authentication import AuthenticationInterceptor
from isthmus.gateway.assembly import Assembly, ServedService, assemble, own_version
from isthmus.gateway.authn.authenticator import Authenticator
from isthmus.gateway.authn.configured_issuers import configured_issuers
from isthmus.gateway.authn.failed_attempts import FailedAttempts
from isthmus.gateway.config.checks import config_problems
from isthmus.gateway.config.listen_address import parse_listen_address
from isthmus.gateway.config.problem import refuse
from isthmus.gateway.config.settings import GatewayConfig
from isthmus.gateway.core.errors import UnavailableError
from isthmus.gateway.loops.circuits import CircuitReviews
from isthmus.gateway.loops.drained_endpoints import DrainedEndpoints
from isthmus.gateway.loops.failed_authentications import FailedAuthentications
from isthmus.gateway.loops.lost_sessions import LostSessions
from isthmus.gateway.loops.repeating import RepeatingLoop
from isthmus.gateway.loops.retention import Retention
from isthmus.gateway.loops.timeouts import Timeouts
from isthmus.gateway.metrics.backlog import BacklogCache
from isthmus.gateway.metrics.exposition import Exposition, Parts
from isthmus.gateway.metrics.http import MetricsServer
from isthmus.gateway.metrics.instruments import Instruments
from isthmus.gateway.ports import Clock, Store
from isthmus.gateway.readiness import Readiness
from isthmus.gateway.server_options import server_credentials, server_options
from isthmus.gateway.statement_key import STATEMENT_KEY_FILE, StatementKey
from isthmus.gateway.store_choice import store_of
from isthmus.gateway.system import Surroundings, real_surroundings

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
_LOG = logging.getLogger(__name__)


class Gateway:
    """A gateway that serves. Made by ``start``, ended by ``stop``.

    ``address`` is where it really listens: with the port that it got, when the configuration says port 0.
    ``metrics_address`` is the same for its metrics, empty when they are off.
    """

    def __init__(
        self,
        *,
        config: GatewayConfig,
        address: str,
        server: grpc.aio.Server,
        store: Store,
        assembly: Assembly,
        readiness: Readiness,
        failed: FailedAuthentications,
        metrics: MetricsServer | None,
        loops: list[RepeatingLoop],
    ) -> None:
        self.config = config
        self.address = address
        self._server = server
        self._store = store
        self._assembly = assembly
        self._readiness = readiness
        self._failed = failed
        self._metrics = metrics
        self._loops = loops
        self._running = [asyncio.create_task(loop.run()) for loop in loops]
        self._stopping: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, config: GatewayConfig, *, surroundings: Surroundings | None = None) -> Self:
        """Check the configuration, open the store and serve.

        Raises:
            ConfigurationError: the configuration is unsafe or incomplete, or a key or the store does not fit
            it. UnavailableError: another gateway has the store, or something else an address.
        """
        refuse(config_problems(config))
        around = surroundings or real_surroundings()
        config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        signer = StatementKey.load_or_create(config.data_dir)
        authenticator = Authenticator(configured_issuers(config), around.wall_clock)
        async with AsyncExitStack() as undo:
            store = store_of(config)
            await store.open()
            undo.push_async_callback(store.close)
            await store.check_clock(around.clock)
            await store.pin(STATEMENT_KEY_FILE, signer.key_id.hex())
            assembly = assemble(config, store=store, signer=signer, surroundings=around)
            store.subscribe(assembly.on_signals)
            store.subscribe_to_others(assembly.on_signals_of_others, assembly.waiters.awaited)
            instruments = Instruments()
            store.subscribe(instruments.on_signals)
            store.watch_commits(instruments.committed)
            # Before anything goes out: what was open stays open across a restart.
            await assembly.dispatcher.circuits.refresh()
            await assembly.dispatcher.routes.refresh()
            readiness = Readiness(store, [service.descriptor.full_name for service in assembly.services])
            attempts = FailedAttempts()
            interceptor = AuthenticationInterceptor(
                table=ACCESS,
                authenticator=authenticator,
                failed=attempts,
                store=store,
                clock=around.clock,
                refusals=instruments.refused.add,
            )
            services = served_services(assembly, readiness, with_reflection=config.reflection)
            server = build_server(config, services, interceptor)
            address = bind(server, config)
            metrics = None
            if config.metrics.enabled:
                exposition = exposition_of(
                    assembly,
                    instruments,
                    store=store,
                    clock=around.clock,
                    is_ready=lambda: readiness.is_ready,
                )
                metrics = MetricsServer(exposition.render, lambda: readiness.is_ready)
                await metrics.start(config.metrics.address)
                undo.push_async_callback(metrics.close)
            await readiness.step()
            await server.start()
            failed = FailedAuthentications(store, clock=around.clock, failed=attempts)
            loops = [
                Timeouts(store, clock=around.clock).loop(),
                LostSessions(
                    store,
                    clock=around.clock,
                    randomness=around.randomness,
                    drop=assembly.dispatcher.drop,
                ).loop(),
                Retention(store, clock=around.clock).loop(),
                DrainedEndpoints(store, clock=around.clock, randomness=around.randomness).loop(),
                CircuitReviews(assembly.dispatcher).loop(),
                failed.loop(),
                readiness.loop(),
            ]
            undo.pop_all()
            _LOG.info("serving", extra={"address": address, "trust_domain": config.trust_domain})
            return cls(
                config=config,
                address=address,
                server=server,
                store=store,
                assembly=assembly,
                readiness=readiness,
                failed=failed,
                metrics=metrics,
                loops=loops,
            )

    @property
    def metrics_address(self) -> str:
        """Where its metrics are served."""
        return "" if self._metrics is None else self._metrics.address

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Drain, finish what is under way within the grace time, cut off the rest, close the store.

        Without an argument the grace is ``drain_seconds`` of the configuration. A second call while the first
        one drains ends the grace: it cuts off at once.
        """
        grace = self.config.drain_seconds if grace_seconds is None else grace_seconds
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(grace))
        elif not self._stopping.done():
            await self._server.stop(None)
        # Whoever waits here may be cancelled; what was begun is finished.
        await asyncio.shield(self._stopping)

    async def wait(self) -> None:
        """Return when the gateway has stopped serving."""
        await self._server.wait_for_termination()

    async def _stop(self, grace: float) -> None:
        _LOG.info("draining", extra={"grace_seconds": grace, "streams": len(self._assembly.streams)})
        await self._readiness.drain()
        self._assembly.streams.drain()
        self._assembly.watch.close()
        self._assembly.feeds.close()
        await self._server.stop(grace if grace > 0 else None)
        for loop in self._loops:
            loop.stop()
        await asyncio.gather(*self._running)
        await self._assembly.dispatcher.close()
        await self._failed.finish()
        if self._metrics is not None:
            await self._metrics.close()
        await self._store.close()
        _LOG.info("stopped")


def exposition_of(
    assembly: Assembly,
    instruments: Instruments,
    *,
    store: Store,
    clock: Clock,
    is_ready: Callable[[], bool],
) -> Exposition:
    """Return what renders everything that the parts of a gateway say of themselves."""
    dispatcher = assembly.dispatcher
    parts = Parts(
        clock=clock,
        started=dispatcher.started.counts,
        circuits=dispatcher.circuits,
        connected=dispatcher.connected,
        streams=assembly.streams,
        waiters=assembly.waiters,
        is_ready=is_ready,
        version=own_version(),
    )
    backlog = BacklogCache(
        store,
        clock=clock,
        pollers=dispatcher.pollers,
        held_up=dispatcher.circuits.is_open,
    )
    return Exposition(instruments, backlog, parts)


def served_services(
    assembly: Assembly, readiness: Readiness, *, with_reflection: bool
) -> tuple[ServedService, ...]:
    """Return every service of a gateway, the standard ones included."""

    def add_health(server: grpc.aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(readiness.servicer, server)

    def add_reflection(server: grpc.aio.Server) -> None:
        names = [service.descriptor.full_name for service in (*services, reflecting)]
        servicer = reflection.aio.ReflectionServicer(names)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)

    find = descriptor_pool.Default().FindServiceByName
    health = ServedService(descriptor=find(HEALTH), add_to=add_health)
    services = (*assembly.services, health)
    if not with_reflection:
        return services
    reflecting = ServedService(descriptor=find(REFLECTION), add_to=add_reflection)
    return (*services, reflecting)


def build_server(
    config: GatewayConfig, services: tuple[ServedService, ...], interceptor: AuthenticationInterceptor
) -> grpc.aio.Server:
    """Return a server of exactly the services whose RPCs the access table lists.

    Raises:
        ConfigurationError: the table and the services do not match.
    """
    optional = [] if config.reflection else [method for method in ACCESS if ".reflection." in method]
    check_access((method for service in services for method in service.methods), ACCESS, optional=optional)
    server = grpc.aio.server(
        interceptors=[interceptor],
        options=server_options(config.limits),
        maximum_concurrent_rpcs=config.limits.max_in_flight,
    )
    for service in services:
        service.add_to(server)
    return server


def bind(server: grpc.aio.Server, config: GatewayConfig) -> str:
    """Take the configured address; return it with the port that it really is.

    Raises:
        ConfigurationError: the certificate or its key cannot be used.
        UnavailableError: something else has the address.
    """
    wanted = parse_listen_address(config.listen.address)
    credentials = server_credentials(config.listen)
    try:
        if credentials is None:
            port = server.add_insecure_port(str(wanted))
        else:
            port = server.add_secure_port(str(wanted), credentials)
    except RuntimeError:
        port = 0
    if port == 0:
        raise UnavailableError(
            f"cannot listen on {wanted}",
            reason="ADDRESS_IN_USE",
            fix="Is another process using it? Choose another listen.address.",
        )
    host = f"[{wanted.host}]" if ":" in wanted.host else wanted.host
    return f"{host}:{port}"
