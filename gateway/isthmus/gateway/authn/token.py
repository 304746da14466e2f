"""A JWT taken apart strictly, before anything of it is believed.

What libraries accept by default and nobody means: repeated claims of which the last wins, keys and key
addresses that the token brings along, extensions that must be understood, other texts than the one that was
signed.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from isthmus.gateway.core.errors import UnauthenticatedError

_REFUSED_HEADERS = frozenset({"b64", "crit", "jku", "jwk", "x5c", "x5u", "zip"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedToken:
    """What a token says of itself. Nothing of it is verified."""

    text: str
    algorithm: str
    type: str
    key_id: str | None
    claims: Mapping[str, Any]


def parse_token(text: str) -> UnverifiedToken:
    """Take a JWT apart (RFC 7515, compact serialization).

    Raises:
        UnauthenticatedError: it is malformed, repeats a name, or its header wants something special.
    """
    header_part, claims_part, signature_part = text.split(".")
    header = _read_object(header_part)
    claims = _read_object(claims_part)
    _decode(signature_part)
    refused = _REFUSED_HEADERS & header.keys()
    if refused:
        raise UnauthenticatedError(
            f"the header of the token has {', '.join(sorted(refused))}",
            reason="TOKEN_HEADER_REFUSED",
            fix="Ask the issuer for a token with a plain header: alg, typ and kid.",
        )
    if str(header.get("cty", "")).upper() == "JWT":
        raise UnauthenticatedError(
            "the token contains another token",
            reason="TOKEN_HEADER_REFUSED",
            fix="Ask the issuer for a token that is a signed JWT itself, not wrapped in another one.",
        )
    key_id = header.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        raise _malformed()
    return UnverifiedToken(
        text=text,
        algorithm=_text(header, "alg"),
        type=_text(header, "typ"),
        key_id=key_id,
        claims=claims,
    )


def _read_object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(
            _decode(part).decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        raise _malformed() from None
    if not isinstance(value, dict):
        raise _malformed()
    return value


def _decode(part: str) -> bytes:
    """Decode base64url without padding; only the one text that encodes the bytes is accepted."""
    try:
        value = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise _malformed() from None
    if base64.urlsafe_b64encode(value).rstrip(b"=").decode() != part:
        raise _malformed()
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise UnauthenticatedError(
            "the token repeats a name",
            reason="TOKEN_REPEATS_A_NAME",
            fix="Get a new token, and give it whole and unchanged.",
        )
    return value


def _no_constant(_name: str) -> NoReturn:
    raise _malformed()


def _text(header: Mapping[str, Any], name: str) -> str:
    value = header.get(name, "")
    if not isinstance(value, str):
        raise _malformed()
    return value


def _malformed() -> UnauthenticatedError:
    return UnauthenticatedError(
        "the token is malformed",
        reason="TOKEN_MALFORMED",
        fix="Get a new token, and give it whole and unchanged.",
    )
