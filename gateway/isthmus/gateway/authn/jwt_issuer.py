"""What is believed of one issuer's tokens (RFC 7519, RFC 8725)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.authn.subjects import SubjectMapping, is_presentable
from isthmus.gateway.authn.token import UnverifiedToken
from isthmus.gateway.authn.verification_keys import VerificationKeys
from isthmus.gateway.core.errors import UnauthenticatedError

_REQUIRED = ("iss", "sub", "aud", "exp", "iat")
_CLAIMS_FIX = f"Ask the issuer for a token with {', '.join(_REQUIRED)}; times are in whole seconds."
_LATEST = 2**40  # seconds: far beyond every clock, and still a date


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtIssuer:
    """One profile: one algorithm, one audience, a bounded life, and who its subjects are here.

    ``max_lifetime`` bounds ``exp - iat``; ``leeway`` is what clocks may differ by.
    """

    issuer: str
    algorithm: str
    audience: str
    types: frozenset[str]
    max_lifetime: timedelta
    leeway: timedelta
    keys: VerificationKeys
    subjects: SubjectMapping

    def verify(self, token: UnverifiedToken, now: datetime) -> Principal:
        """Return who the token speaks for.

        Raises:
            UnauthenticatedError: its signature, a claim or its time is not as the profile says.
        """
        self._check_header(token)
        claims = self._verified_claims(token)
        issued_at, expires_at = self._check_times(claims, now)
        subject = claims["sub"]
        if not isinstance(subject, str) or not is_presentable(subject):
            raise UnauthenticatedError(
                "the subject is not 1 to 255 visible ASCII characters",
                reason="SUBJECT_REFUSED",
                fix="Ask the issuer for a token whose sub is 1 to 255 visible ASCII characters.",
            )
        mapped = self.subjects.map(subject)
        if mapped is None:
            raise UnauthenticatedError(
                "the subject of the token is nobody here",
                reason="SUBJECT_UNKNOWN",
                fix="Ask the platform team to map the subject to a namespace in the gateway's configuration.",
            )
        return Principal(
            namespace=mapped.namespace,
            subject=mapped.subject,
            issuer=self.issuer,
            platform=mapped.platform,
            authenticated_at=issued_at,
            expires_at=expires_at,
        )

    def _check_header(self, token: UnverifiedToken) -> None:
        if token.algorithm != self.algorithm:
            raise UnauthenticatedError(
                f"this issuer signs with {self.algorithm} only",
                reason="TOKEN_ALGORITHM",
                fix=f"Ask the issuer for a token that is signed with {self.algorithm}.",
            )
        # Types are media types: case does not count, and "application/" may be left out (RFC 7515, 4.1.9).
        type_ = token.type.lower().removeprefix("application/")
        if type_ not in {accepted.lower() for accepted in self.types}:
            raise UnauthenticatedError(
                "the token is of another type",
                reason="TOKEN_TYPE",
                fix=f"Ask the issuer for a token of type {' or '.join(sorted(self.types))}.",
            )

    def _verified_claims(self, token: UnverifiedToken) -> Mapping[str, Any]:
        key = self.keys.find(token.key_id)
        if key is None:
            raise UnauthenticatedError(
                "the issuer has no such key",
                reason="TOKEN_KEY_UNKNOWN",
                fix="Get a new token: the key that signed this one is not, or no longer, published.",
            )
        try:
            jwt.decode(
                token.text,
                key,
                algorithms=[self.algorithm],
                audience=self.audience,
                issuer=self.issuer,
                # Times are checked below, against the gateway's own clock.
                options={
                    "require": list(_REQUIRED),
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidSignatureError:
            raise UnauthenticatedError(
                "the signature is wrong",
                reason="TOKEN_SIGNATURE",
                fix="Get a new token, and give it whole and unchanged; is it meant for this gateway?",
            ) from None
        except jwt.InvalidAudienceError:
            raise UnauthenticatedError(
                "the token is for another audience",
                reason="TOKEN_AUDIENCE",
                fix=f"Ask the issuer for a token with exactly the audience {self.audience!r}.",
            ) from None
        except jwt.MissingRequiredClaimError as error:
            if error.claim == "aud":
                raise UnauthenticatedError(
                    "the token has no audience",
                    reason="TOKEN_AUDIENCE",
                    fix=f"Ask the issuer for a token with exactly the audience {self.audience!r}.",
                ) from None
            raise UnauthenticatedError(
                f"the token has no {error.claim}",
                reason="TOKEN_CLAIMS",
                fix=_CLAIMS_FIX,
            ) from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise UnauthenticatedError(
                "a claim is not what it should be",
                reason="TOKEN_CLAIMS",
                fix=_CLAIMS_FIX,
            ) from None
        return token.claims

    def _check_times(self, claims: Mapping[str, Any], now: datetime) -> tuple[datetime, datetime]:
        issued_at = _time(claims, "iat")
        expires_at = _time(claims, "exp")
        if expires_at <= issued_at or expires_at - issued_at > self.max_lifetime:
            raise UnauthenticatedError(
                f"the token lives longer than {self.max_lifetime.total_seconds():.0f} seconds, or not at all",
                reason="TOKEN_LIFETIME",
                fix="Ask the issuer for a shorter-lived token.",
            )
        if now >= expires_at + self.leeway:
            raise UnauthenticatedError(
                "the token has expired", reason="TOKEN_EXPIRED", fix="Get a new token."
            )
        not_before = max(issued_at, _time(claims, "nbf")) if "nbf" in claims else issued_at
        if now < not_before - self.leeway:
            raise UnauthenticatedError(
                "the token is not valid yet",
                reason="TOKEN_NOT_YET_VALID",
                fix="Compare the clocks of the issuer and of the gateway.",
            )
        return issued_at, expires_at


def _time(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims[name]
    # A bool is an int to Python.
    if type(value) is not int or not 0 <= value < _LATEST:
        raise UnauthenticatedError(
            f"{name} is no time in whole seconds",
            reason="TOKEN_CLAIMS",
            fix=_CLAIMS_FIX,
        )
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        raise UnauthenticatedError(
            f"{name} is no time in whole seconds",
            reason="TOKEN_CLAIMS",
            fix=_CLAIMS_FIX,
        ) from None
