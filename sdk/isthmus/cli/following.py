"""Print what comes behind a cursor, and acknowledge what was printed."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Feed(Protocol[T]):
    """Completions, or events."""

    def __aiter__(self) -> AsyncIterator[T]:
        """Return them, oldest first."""
        ...

    async def acknowledge(self, entry: T, /) -> None:
        """Say that this one, and every one before it, is dealt with."""
        ...


async def follow(feed: Feed[T], show: Callable[[T], None], *, acknowledge: bool, count: int) -> None:
    """Show each entry, then acknowledge it; end after so many, 0: never."""
    seen = 0
    async for entry in feed:
        show(entry)
        if acknowledge:
            await feed.acknowledge(entry)
        seen += 1
        if seen == count:
            return
