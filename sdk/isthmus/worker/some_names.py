"""Names for people: as many as fit into a sentence."""

from collections.abc import Collection


def some_names(names: Collection[str], most: int) -> str:
    """Return names, sorted, so many at most, and how many more there are."""
    shown = ", ".join(sorted(names)[:most]) or "none"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
