"""Streams end before the credential that opened them: first the client is asked to leave, then it has to."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.errors import UnauthenticatedError
from isthmus.gateway.dispatch.timers import Timers
from isthmus.gateway.ports import Clock

MAX_NOTICE = timedelta(seconds=30)


@asynccontextmanager
async def until_expiry(
    principal: Principal, *, clock: Clock, timers: Timers, drain: Callable[[], None]
) -> AsyncGenerator[None]:
    """End the block when the credential expires; ``drain`` is called up to 30 s, or a third of it, before.

    Raises:
        UnauthenticatedError: the credential expired.
    """
    left = principal.expires_at - clock.now()
    notice = min(MAX_NOTICE, left / 3)
    timeout = asyncio.timeout(None)
    warning = timers.call_at(principal.expires_at - notice, drain)
    loop = asyncio.get_running_loop()
    end = timers.call_at(principal.expires_at, lambda: timeout.reschedule(loop.time()))
    try:
        async with timeout:
            yield
    except TimeoutError:
        raise _credential_expired() from None
    finally:
        warning.cancel()
        end.cancel()


def _credential_expired() -> UnauthenticatedError:
    """Return why a stream ends that outlived its credential."""
    return UnauthenticatedError(
        "the credential of this stream has expired",
        reason="CREDENTIAL_EXPIRED",
        fix="open another stream with a fresh credential",
    )
