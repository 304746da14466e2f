"""Writes refused credentials into the audit log and the log: counted, once a second."""

import logging
from datetime import datetime

from isthmus.gateway.authn.failed_attempts import FailedAttempts
from isthmus.gateway.commands.record_failed_authentication import record_failed_authentications
from isthmus.gateway.core.audit_record import AuthenticationFailed
from isthmus.gateway.core.errors import GatewayError
from isthmus.gateway.loops.repeating import RepeatingLoop
from isthmus.gateway.ports import Clock, Store

PAUSE_SECONDS = 1.0
MAX_UNRECORDED = 2000
_LOG = logging.getLogger(__name__)


class FailedAuthentications:
    """One step: record the seconds that are over."""

    def __init__(self, store: Store, *, clock: Clock, failed: FailedAttempts) -> None:
        self._store = store
        self._clock = clock
        self._failed = failed
        self._unrecorded: list[tuple[datetime, AuthenticationFailed]] = []

    async def step(self) -> bool:
        """Record what was counted before the current second."""
        await self._record(all_of_them=False)
        return False

    async def finish(self) -> None:
        """Record what is left, when the gateway stops."""
        try:
            await self._record(all_of_them=True)
        except GatewayError as error:
            _LOG.warning("failed authentications not audited", extra={"reason": error.reason})

    async def _record(self, *, all_of_them: bool) -> None:
        taken = self._failed.take(self._clock.now(), all_of_them=all_of_them)
        for _, failure in taken:
            _LOG.info(
                "credentials refused",
                extra={"reason": failure.reason, "source": failure.source, "count": failure.count},
            )
        # While the store is away they wait; the log has them already.
        pending = (self._unrecorded + taken)[-MAX_UNRECORDED:]
        self._unrecorded = pending
        if pending:
            await self._store.transact(lambda uow: record_failed_authentications(uow, pending))
            self._unrecorded = []

    def loop(self) -> RepeatingLoop:
        """Return the loop that does it for as long as the gateway runs."""
        return RepeatingLoop("failed authentications", self.step, pause_seconds=PAUSE_SECONDS)
