"""Whose RPC this task serves. The authentication interceptor says it once; everything below may ask.

A context variable, because gRPC gives interceptors no place in the handler's own context. Tasks that a
handler starts inherit it.
"""

from collections.abc import Callable
from contextvars import ContextVar

from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.core.errors import UnauthenticatedError

_PRINCIPAL: ContextVar[Principal | None] = ContextVar("isthmus_principal", default=None)
_METHOD: ContextVar[str] = ContextVar("isthmus_method", default="")

CountRefusal = Callable[[str], None]
"""Takes the reason of a refusal."""


def _nobody_counts(_reason: str) -> None:
    return


_COUNT_REFUSAL: ContextVar[CountRefusal] = ContextVar("isthmus_count_refusal", default=_nobody_counts)


def current_principal() -> Principal:
    """Return who calls.

    Raises:
        UnauthenticatedError: nobody was authenticated, because the RPC is public or this is no RPC.
    """
    principal = _PRINCIPAL.get()
    if principal is None:
        raise UnauthenticatedError("nobody is authenticated here")
    return principal


def current_principal_name() -> str:
    """Return the name of who calls, for logs; empty when nobody is authenticated."""
    principal = _PRINCIPAL.get()
    return principal.name if principal is not None else ""


def current_method() -> str:
    """Return the full name of the RPC, for logs; empty outside of one."""
    return _METHOD.get()


def count_refusal(reason: str) -> None:
    """Count a refusal of the RPC that this task serves."""
    _COUNT_REFUSAL.get()(reason)


def enter_rpc(method: str, principal: Principal | None, *, refusals: CountRefusal = _nobody_counts) -> None:
    """Say whose RPC this task serves from now on, and who counts its refusals."""
    _METHOD.set(method)
    _PRINCIPAL.set(principal)
    _COUNT_REFUSAL.set(refusals)
