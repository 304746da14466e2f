"""Worker sessions in the store: opened by a hello, renewed by one command while frames arrive."""

import asyncio
import logging
from datetime import datetime, timedelta

from msgspec.structs import replace

from isthmus.gateway.commands.held_tasks import open_session
from isthmus.gateway.commands.lease_tasks import LeasedTask
from isthmus.gateway.commands.worker_sessions import renew_session
from isthmus.gateway.core.errors import GatewayError
from isthmus.gateway.dispatch.live_session import LiveSession
from isthmus.gateway.ports import Clock, Store, WorkerSession

_LOG = logging.getLogger(__name__)
DEFAULT_LEASE = timedelta(seconds=30)
RENEWALS_PER_LEASE = 3


class Leases:
    """Opens and renews sessions. Lives on the event loop."""

    def __init__(self, store: Store, *, clock: Clock, lease: timedelta = DEFAULT_LEASE) -> None:
        self._store = store
        self._clock = clock
        self._renewing: set[LiveSession] = set()
        self._jobs: set[asyncio.Task[None]] = set()
        self.lease = lease

    @property
    def lease_ms(self) -> int:
        """How long a session lives without a renewal, milliseconds."""
        return round(self.lease.total_seconds() * 1000)

    def expiry(self) -> datetime:
        """When a session that is renewed now expires."""
        return self._clock.now() + self.lease

    async def open(self, session: WorkerSession) -> tuple[LeasedTask, ...]:
        """Open or renew a session that connects; return the tasks that it holds.

        Raises:
            AccessDeniedError: the session id belongs to another worker.
        """
        return await self._store.transact(lambda uow: open_session(uow, session))

    async def renew(self, session: WorkerSession) -> None:
        """Renew a session.

        Raises:
            AccessDeniedError: the session id belongs to another worker.
        """
        await self._store.transact(lambda uow: renew_session(uow, session))

    def touch(self, live: LiveSession) -> None:
        """A frame arrived: renew the session if a third of its lease is over."""
        left = live.session.expires_at - self._clock.now()
        if left > self.lease * (RENEWALS_PER_LEASE - 1) / RENEWALS_PER_LEASE or live in self._renewing:
            return
        self._renewing.add(live)
        job = asyncio.get_running_loop().create_task(self._renew(live))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _renew(self, live: LiveSession) -> None:
        renewed = replace(live.session, expires_at=self.expiry())
        try:
            await self.renew(renewed)
        except GatewayError as error:
            _LOG.warning("worker %s was not renewed: %s", live.session.identity, error.message)
        else:
            # Only now: tasks are leased to a session as long as this says that it lives.
            live.session = renewed
        finally:
            self._renewing.discard(live)
