"""Refused credentials, counted: a flood must fill neither the memory nor the disk."""

from collections import Counter
from datetime import datetime

from isthmus.gateway.core.audit_record import AuthenticationFailed

_MAX_SOURCES = 256
_ELSEWHERE = "elsewhere"


class FailedAttempts:
    """Counts refused credentials per source and reason within a second.

    At most 256 pairs are told apart within a second; further ones are counted together, under the source
    ``elsewhere``. ``take`` hands over the seconds that are over.
    """

    def __init__(self) -> None:
        self._counts: dict[int, Counter[tuple[str, str]]] = {}

    def note(self, *, source: str, reason: str, now: datetime) -> None:
        """Count one refused credential; ``source`` is an address without its port."""
        counts = self._counts.setdefault(int(now.timestamp()), Counter())
        known = (source, reason) in counts or len(counts) < _MAX_SOURCES
        counts[(source if known else _ELSEWHERE, reason)] += 1

    def take(
        self, now: datetime, *, all_of_them: bool = False
    ) -> list[tuple[datetime, AuthenticationFailed]]:
        """Return what was counted before the current second, with the second; it is forgotten here."""
        current = int(now.timestamp())
        over = sorted(second for second in self._counts if all_of_them or second != current)
        return [
            (
                datetime.fromtimestamp(second, now.tzinfo),
                AuthenticationFailed(reason=reason.lower(), source=source, count=count),
            )
            for second in over
            for (source, reason), count in sorted(self._counts.pop(second).items())
        ]
