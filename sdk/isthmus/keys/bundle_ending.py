"""Warns of bundles that end soon: from then on nothing is sealed to those whom only they vouch for."""

import logging
from datetime import UTC, datetime

from isthmus.keys.trusted import TrustedNamespace
from isthmus.wire.chain import DAY_MS

logger = logging.getLogger("isthmus.keys")

SOON_MS = 14 * DAY_MS


class BundleEndings:
    """Says it once a day of the bundles of the same organizations. For several threads."""

    __slots__ = ("_said_at_ms",)

    def __init__(self) -> None:
        self._said_at_ms: dict[tuple[str, ...], int] = {}

    def look(self, trusted: TrustedNamespace | None, now_ms: int) -> None:
        """Warn if a namespace that is in use is trusted for the next two weeks only."""
        if trusted is None or trusted.expires_at_ms is None or trusted.expires_at_ms - now_ms > SOON_MS:
            return
        said_at_ms = self._said_at_ms.get(trusted.organizations)
        if said_at_ms is not None and now_ms - said_at_ms < DAY_MS:
            return
        self._said_at_ms[trusted.organizations] = now_ms
        logger.warning(
            "the bundle of %s ends on %s, and nothing vouches for %s after it: take the newest one in, with: "
            "isthmus trust bundle update FILE",
            " and ".join(trusted.organizations),
            datetime.fromtimestamp(trusted.expires_at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC"),
            trusted.namespace,
        )
