"""Pages of lists: how many entries, and where to go on. Tokens are opaque to clients."""

import base64
import binascii

from isthmus.gateway.core.errors import InvalidRequestError

MAX_PAGE_SIZE = 1000
_MAX_TOKEN_CHARS = 1024


def page_size(wanted: int, default: int) -> int:
    """Return how many entries a page has at most: 0 means the default, the cap is 1000."""
    return min(wanted or default, MAX_PAGE_SIZE)


def page_token(last: str) -> str:
    """Return the token of the page after the entry with this name or position."""
    return base64.urlsafe_b64encode(last.encode()).decode()


def page_start(token: str) -> str:
    """Return the name or position that a token goes on after; empty on the first page.

    Raises:
        InvalidRequestError: this gateway never gave out such a token.
    """
    if len(token) > _MAX_TOKEN_CHARS:
        raise _unknown()
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise _unknown() from None


def page_start_position(token: str) -> int:
    """Return the position that a token goes on after; 0 on the first page. Raises InvalidRequestError."""
    start = page_start(token)
    if not start:
        return 0
    if not start.isascii() or not start.isdigit() or len(start) > len(str(2**63)):
        raise _unknown()
    return int(start)


def _unknown() -> InvalidRequestError:
    return InvalidRequestError("the page token is not one of this gateway", reason="PAGE_TOKEN")
