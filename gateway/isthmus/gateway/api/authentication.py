"""Every RPC passes here once: who calls it, and may it be called at all?

Refused before anything of the request is received. Handlers ask ``isthmus.gateway.api.caller`` who calls.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio

from isthmus.gateway.api.access import Access
from isthmus.gateway.api.caller import CountRefusal, count_refusal, enter_rpc
from isthmus.gateway.api.denial_log import DenialLog
from isthmus.gateway.api.guarded_handler import Context, Handler, guarded_handler, refusing_handler
from isthmus.gateway.api.members import Members
from isthmus.gateway.api.status import abort, abort_with, refusal_of
from isthmus.gateway.authn.authenticator import Authenticator
from isthmus.gateway.authn.failed_attempts import FailedAttempts
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.audit_record import RequestDenied
from isthmus.gateway.core.errors import AccessDeniedError, GatewayError, UnauthenticatedError
from isthmus.gateway.ports import Clock, Store

_LOG = logging.getLogger(__name__)


class AuthenticationInterceptor(grpc.aio.ServerInterceptor):
    """Authenticates, enforces the access table, and says who calls."""

    def __init__(
        self,
        *,
        table: Mapping[str, Access],
        authenticator: Authenticator,
        failed: FailedAttempts,
        store: Store,
        clock: Clock,
        refusals: CountRefusal,
    ) -> None:
        """Have ``refusals`` count what is refused, here and by what runs within an RPC."""
        self._table = table
        self._authenticator = authenticator
        self._failed = failed
        self._members = Members(store)
        self._denials = DenialLog(store, clock=clock)
        self._clock = clock
        self._refusals = refusals
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401 - None means: no such RPC, which gRPC's types do not say
        """Return the handler of the RPC, or one that refuses; None when there is no such RPC."""
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None:
            found = await continuation(handler_call_details)
            if found is None:
                return None
            handler = self._handlers[method] = guarded_handler(found)
        access = self._table.get(method)
        enter_rpc(method, None, refusals=self._refusals)
        if access is Access.PUBLIC:
            return handler
        try:
            principal = self._authenticator.authenticate(handler_call_details.invocation_metadata)
        except UnauthenticatedError as error:
            return self._refuse_credential(error)
        except Exception as error:  # noqa: BLE001 - an error while authenticating lets nobody in
            return _refuse(error)
        enter_rpc(method, principal, refusals=self._refusals)
        try:
            await self._check(access, method, principal)
        except AccessDeniedError as error:
            action = "administer" if access is Access.PLATFORM else method
            return self._deny(error, principal, action)
        except Exception as error:  # noqa: BLE001 - nor does one while deciding
            return _refuse(error)
        return handler

    async def _check(self, access: Access | None, method: str, principal: Principal) -> None:
        match access:
            case Access.PUBLIC | Access.AUTHENTICATED:
                return
            case Access.MEMBER:
                await self._members.check(principal.namespace)
            case Access.PLATFORM:
                if not principal.platform:
                    raise AccessDeniedError(
                        f"{principal.name} does not administer the platform",
                        reason="NOT_PLATFORM",
                        fix="Ask the platform team.",
                    )
            case None:
                raise AccessDeniedError(f"nobody may call {method}", reason="RPC_NOT_LISTED")

    def _refuse_credential(self, error: UnauthenticatedError) -> Handler:
        async def refuse(context: Context) -> None:
            # Logged in aggregate: a flood must not fill the log either.
            count_refusal(error.reason)
            self._failed.note(source=source_of(context.peer()), reason=error.reason, now=self._clock.now())
            await abort_with(context, refusal_of(error))

        return refusing_handler(refuse)

    def _deny(self, error: AccessDeniedError, principal: Principal, action: str) -> Handler:
        async def refuse(context: Context) -> None:
            denied = RequestDenied(action=action, rule=f"access-table:{error.reason.lower()}")
            try:
                await self._denials.record(principal, denied)
            except GatewayError as trouble:
                # Denied all the same; the log keeps what the audit log could not take.
                _LOG.warning("denial not audited", extra={"reason": trouble.reason})
            await abort(context, error)

        return refusing_handler(refuse)


def _refuse(error: Exception) -> Handler:
    async def refuse(context: Context) -> None:
        await abort(context, error)

    return refusing_handler(refuse)


def source_of(peer: str) -> str:
    """Return the address of a peer without its port: ``ipv4:10.0.0.7:4711`` → ``10.0.0.7``."""
    kind, _, address = unquote(peer).partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return kind
    return address.rpartition(":")[0].strip("[]")
