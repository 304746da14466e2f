"""Denials of commands: audited, then passed on."""

from collections.abc import Callable
from typing import TypeVar

from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.record_denial import record_denial
from isthmus.gateway.core.audit_record import RequestDenied
from isthmus.gateway.core.errors import AccessDeniedError
from isthmus.gateway.ports import Clock, Store, UnitOfWork

T = TypeVar("T")


async def transact_or_deny(
    store: Store,
    command: Callable[[UnitOfWork], T],
    *,
    denied: RequestDenied,
    principal: Principal,
    clock: Clock,
) -> T:
    """Run a command; when it denies, audit that (a command that raises leaves nothing behind) and raise.

    Raises:
        GatewayError: as the command.
    """
    try:
        return await store.transact(command)
    except AccessDeniedError:
        now = clock.now()
        await store.transact(lambda uow: record_denial(uow, denied, actor=principal.actor, now=now))
        raise
