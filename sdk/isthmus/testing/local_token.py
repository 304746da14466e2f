"""Tokens for the clients of a local gateway, minted by the gateway's own development issuer."""

from datetime import UTC, datetime, timedelta
from typing import Protocol

_LIFETIME = timedelta(minutes=10)
_RENEW_BEFORE = timedelta(minutes=2)


class Issuer(Protocol):
    """What mints: the development issuer of the gateway."""

    def mint(self, *, namespace: str, subject: str, now: datetime, lifetime: timedelta) -> str:
        """Return a token."""
        ...


class LocalToken:
    """A ``TokenSource`` for one subject of one namespace."""

    def __init__(self, issuer: Issuer, *, namespace: str, subject: str) -> None:
        self._issuer = issuer
        self._namespace = namespace
        self._subject = subject
        self._minted: tuple[datetime, str] | None = None

    def token(self) -> str:
        """Return a token that lives for minutes."""
        now = datetime.now(tz=UTC)
        if self._minted is not None and now - self._minted[0] < _LIFETIME - _RENEW_BEFORE:
            return self._minted[1]
        token = self._issuer.mint(
            namespace=self._namespace, subject=self._subject, now=now, lifetime=_LIFETIME
        )
        self._minted = (now, token)
        return token
