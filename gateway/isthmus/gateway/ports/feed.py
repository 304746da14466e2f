"""The feed of a namespace, as the store keeps it: cursors, events, and the records that entries come from."""

from datetime import datetime
from typing import Protocol

from isthmus.gateway.core.feed import Cursor, PublishedEvent
from isthmus.gateway.core.value import Value


class FeedRecord(Value):
    """An audit record in which a namespace is the caller, at its place in the log.

    ``event`` are its bytes if it tells the end of an operation or an event that was published for the
    namespace, None for all others: those are only passed.
    """

    position: int
    event: bytes | None


class FeedUnit(Protocol):
    """Cursors, that is how far the consumers of a namespace's feed are, and events that were published.

    Operations pay nothing for it: entries are read from the records of the audit log, whose positions follow
    the order of commits, so no entry ever appears before one that was seen.
    """

    def cursor(self, namespace: str, name: str) -> Cursor | None:
        """Return a cursor."""
        ...

    def put_cursor(self, cursor: Cursor) -> None:
        """Add or replace a cursor."""
        ...

    def remove_cursor(self, namespace: str, name: str) -> None:
        """Forget a cursor, if it is there."""
        ...

    def count_cursors(self, namespace: str) -> int:
        """Return how many cursors a namespace has."""
        ...

    def published_event(self, reader: str, publisher: str, event_id: bytes) -> PublishedEvent | None:
        """Return an event that a namespace published for another one."""
        ...

    def put_event(self, event: PublishedEvent) -> None:
        """Add an event that does not exist."""
        ...

    def forget_events(self, *, until: datetime, limit: int) -> int:
        """Delete events whose time was over at a moment, longest ago first; return how many."""
        ...
