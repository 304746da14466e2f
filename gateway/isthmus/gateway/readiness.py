"""Whether this gateway takes calls now, as load balancers ask (grpc.health.v1)."""

import asyncio
import logging
from collections.abc import Sequence

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio  # pyright: ignore[reportAttributeAccessIssue]

from isthmus.gateway.core.errors import GatewayError, UnavailableError
from isthmus.gateway.loops.repeating import RepeatingLoop
from isthmus.gateway.ports import Store

PAUSE_SECONDS = 2.0
ANSWER_SECONDS = 10.0
"""A store that is asked for longer counts as one that does not answer, and is asked again."""
_LOG = logging.getLogger(__name__)


class Readiness:
    """Not serving before the first look, while the store cannot be read or written, and from the drain on.

    Args:
        services: names that are asked about, besides the gateway as a whole (the empty name).
    """

    def __init__(self, store: Store, services: Sequence[str]) -> None:
        self._store = store
        self._services = ("", *services)
        self._ready: bool | None = None
        self._draining = False
        self.servicer = aio.HealthServicer()

    @property
    def is_ready(self) -> bool:
        """Whether the gateway takes calls now."""
        return bool(self._ready) and not self._draining

    async def step(self) -> bool:
        """Look whether the store answers and commits, and say so."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._store.read(lambda reader: reader.last_audit_position())
                # A store that cannot commit says so itself.
                commits = await self._store.can_commit()
        except TimeoutError as error:
            await self._set(ready=False, why="its store does not answer")
            raise UnavailableError(
                f"the store gave no answer within {ANSWER_SECONDS:g} s",
                fix="Look into the gateway's log: its disk may be full, or its database away.",
            ) from error
        except GatewayError:
            await self._set(ready=False, why="its store does not answer")
            raise
        await self._set(ready=commits, why="its store cannot commit")
        return False

    async def drain(self) -> None:
        """Not serving any more, for good."""
        self._draining = True
        await self.servicer.enter_graceful_shutdown()

    def loop(self) -> RepeatingLoop:
        """Return the loop that looks for as long as the gateway runs."""
        return RepeatingLoop("readiness", self.step, pause_seconds=PAUSE_SECONDS)

    async def _set(self, *, ready: bool, why: str) -> None:
        if ready is self._ready:
            return
        if self._ready is not None:
            _LOG.warning("the gateway is %s", "ready again" if ready else f"not ready: {why}")
        self._ready = ready
        serving = health_pb2.HealthCheckResponse.SERVING
        not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
        for service in self._services:
            await self.servicer.set(service, serving if ready else not_serving)
