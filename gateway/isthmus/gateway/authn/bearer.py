"""The credential of an RPC: exactly one bearer token in its metadata (RFC 6750, section 2.1)."""

import re
from collections.abc import Iterable

from isthmus.gateway.core.errors import UnauthenticatedError

MAX_TOKEN_BYTES = 8192
_SCHEME = re.compile(r"bearer ", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_FIX = "Send one metadata entry `authorization: Bearer <token>`."


def bearer_token(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Return the token: three base64url parts, at most 8 KB.

    Raises:
        UnauthenticatedError: there is no credential, more than one, or none of this form.
    """
    values = [value for key, value in metadata if key.lower() == "authorization"]
    if not values:
        raise UnauthenticatedError("there is no credential", reason="CREDENTIAL_MISSING", fix=_FIX)
    if len(values) > 1:
        raise UnauthenticatedError(
            "there is more than one credential", reason="CREDENTIAL_REPEATED", fix=_FIX
        )
    value = values[0]
    if not isinstance(value, str) or not _SCHEME.match(value):
        raise UnauthenticatedError("the credential is no bearer token", reason="CREDENTIAL_SCHEME", fix=_FIX)
    token = value[len("bearer ") :]
    if len(token) > MAX_TOKEN_BYTES:
        raise UnauthenticatedError(
            f"the token is larger than {MAX_TOKEN_BYTES} bytes",
            reason="TOKEN_TOO_LARGE",
            fix="Ask the issuer for a token with fewer claims.",
        )
    if not _TOKEN.fullmatch(token):
        raise UnauthenticatedError("the token is not a signed JWT", reason="TOKEN_MALFORMED", fix=_FIX)
    return token
