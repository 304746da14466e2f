"""Puts denials on record, before they are answered.

A flood of them must not fill the disk: of equal denials (same principal, action, endpoint, service, operation
and rule) one a second is recorded, and of all together a bounded number; the others are only refused.
"""

from datetime import datetime, timedelta

from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.record_denial import record_denial
from isthmus.gateway.core.audit_record import RequestDenied
from isthmus.gateway.ports import Clock, Store

WINDOW = timedelta(seconds=1)
MAX_RECORDS_PER_WINDOW = 200
MAX_RECORDS_PER_PRINCIPAL = 20


class DenialLog:
    """Records denials of one process. Lives on the event loop."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._window_ends: datetime | None = None
        self._recorded: set[tuple[str, ...]] = set()
        self._per_principal: dict[str, int] = {}

    async def record(self, principal: Principal, denied: RequestDenied) -> None:
        """Put a denial on record, unless too many are.

        Raises:
            UnavailableError: the record cannot be written now.
        """
        now = self._clock.now()
        if self._admit(principal.name, denied, now):
            actor = principal.actor
            await self._store.transact(lambda uow: record_denial(uow, denied, actor=actor, now=now))

    def _admit(self, principal: str, denied: RequestDenied, now: datetime) -> bool:
        if self._window_ends is None or now >= self._window_ends:
            self._window_ends = now + WINDOW
            self._recorded.clear()
            self._per_principal.clear()
        same = (principal, denied.action, denied.endpoint, denied.service, denied.operation, denied.rule)
        of_principal = self._per_principal.get(principal, 0)
        if (
            same in self._recorded
            or of_principal >= MAX_RECORDS_PER_PRINCIPAL
            or len(self._recorded) >= MAX_RECORDS_PER_WINDOW
        ):
            return False
        self._recorded.add(same)
        self._per_principal[principal] = of_principal + 1
        return True
