"""Metadata of an RPC → Principal, with a memory of tokens that were verified before."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from isthmus.gateway.authn.bearer import bearer_token
from isthmus.gateway.authn.jwt_issuer import JwtIssuer
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.authn.token import parse_token
from isthmus.gateway.core.errors import UnauthenticatedError
from isthmus.gateway.ports import Clock

_MAX_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verified:
    principal: Principal
    issuer: JwtIssuer
    generation: int

    def holds(self, now: datetime) -> bool:
        """Whether the token would be verified the same way again."""
        self.issuer.keys.refresh(now)
        return now < self.principal.expires_at and self.generation == self.issuer.keys.generation


class Authenticator:
    """Believes the configured issuers and nobody else.

    A verified token is remembered by its hash until it expires or its issuer's keys change; the least
    recently used ones are forgotten first. No token is kept.
    """

    def __init__(self, issuers: Sequence[JwtIssuer], clock: Clock) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._clock = clock
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    def authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> Principal:
        """Return who sent an RPC with this metadata.

        Raises:
            UnauthenticatedError: the credential is missing or refused; the reason says which.
        """
        token = bearer_token(metadata)
        now = self._clock.now()
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is not None:
            if known.holds(now):
                self._verified.move_to_end(digest)
                return known.principal
            del self._verified[digest]
        verified = self._verify(token, now)
        self._verified[digest] = verified
        if len(self._verified) > _MAX_REMEMBERED:
            self._verified.popitem(last=False)
        return verified.principal

    def _verify(self, text: str, now: datetime) -> _Verified:
        token = parse_token(text)
        name = token.claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise UnauthenticatedError(
                "the issuer of the token is not known here",
                reason="TOKEN_ISSUER",
                fix="Ask the platform team which issuers the gateway is configured with.",
            )
        issuer.keys.refresh(now)
        generation = issuer.keys.generation
        return _Verified(principal=issuer.verify(token, now), issuer=issuer, generation=generation)
