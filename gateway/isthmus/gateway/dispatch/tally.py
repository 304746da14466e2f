"""Numbers that only grow, one for each label, as cheap as can be."""

from collections.abc import Mapping

MAX_LABELS = 5_000
OTHERS = "_others"


class Tally:
    """Counts what happened, on the event loop.

    Labels come from the registry, so their number is bounded, and bounded again here: beyond MAX_LABELS
    everything that is new counts under OTHERS, which no endpoint can be called.
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def add(self, label: str, count: int = 1) -> None:
        """Count."""
        counts = self._counts
        before = counts.get(label)
        if before is None:
            if len(counts) >= MAX_LABELS:
                label = OTHERS
            before = counts.get(label, 0)
        counts[label] = before + count

    def counts(self) -> Mapping[str, int]:
        """Return all numbers, as a copy."""
        return dict(self._counts)
