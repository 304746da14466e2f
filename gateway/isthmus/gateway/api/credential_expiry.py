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


class CredentialExpiry:
    """Ends what a credential opened when it expires. Credentials go by the wall clock."""

    def __init__(self, *, clock: Clock, wall_clock: Clock, timers: Timers) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._timers = timers

    @asynccontextmanager
    async def until_expiry(self, principal: Principal, *, drain: Callable[[], None]) -> AsyncGenerator[None]:
        """End the block when the credential expires; call ``drain`` up to 30 s, or a third of it, before.

        Raises:
            UnauthenticatedError: the credential expired.
        """
        left = principal.expires_at - self._wall_clock.now()
        expires_at = self._clock.now() + left
        notice = min(MAX_NOTICE, left / 3)
        timeout = asyncio.timeout(None)
        warning = self._timers.call_at(expires_at - notice, drain)
        loop = asyncio.get_running_loop()
        end = self._timers.call_at(expires_at, lambda: timeout.reschedule(loop.time()))
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
