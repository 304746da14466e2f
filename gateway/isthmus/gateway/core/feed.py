"""The feed of a namespace: what it tells, and how a consumer remembers how far it is.

It tells how operations ended that the namespace called, and which events others published for it.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import Enum
from typing import Self

from msgspec.structs import replace

from isthmus.gateway.core.operation import State
from isthmus.gateway.core.value import Value
from isthmus.wire.names import NamespaceName


class FeedKind(Enum):
    """What an entry tells: how an operation ended that the namespace called, or that there is an event."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EVENT = "event"

    # Members are singletons; Enum's own hash is a Python function, and these are looked up often.
    __hash__ = object.__hash__


KIND_OF_END = {
    State.SUCCEEDED: FeedKind.SUCCEEDED,
    State.FAILED: FeedKind.FAILED,
    State.CANCELED: FeedKind.CANCELED,
    State.TIMED_OUT: FeedKind.FAILED,
    State.DENIED: FeedKind.FAILED,
}
"""The kind of entry that a terminal state makes."""


class Cursor(Value):
    """How far a consumer of a namespace's feed is, and which entries it wants.

    ``endpoint`` and ``kinds`` narrow the feed; empty, they want everything. All entries up to ``position``
    are acknowledged.
    """

    namespace: NamespaceName
    name: str
    endpoint: str
    kinds: tuple[FeedKind, ...]
    position: int
    created_at: datetime
    acknowledged_at: datetime | None = None

    def wants(self, kind: FeedKind, endpoint: str) -> bool:
        """Whether an entry is for this consumer."""
        return (not self.kinds or kind in self.kinds) and self.endpoint in {"", endpoint}

    def moved(self, position: int, now: datetime) -> Self:
        """Return the cursor with everything up to a position acknowledged; it never moves back."""
        if position <= self.position:
            return self
        return replace(self, position=position, acknowledged_at=now)


class PublishedEvent(Value):
    """An event that the owner of an endpoint published, sealed for one reader; kept until ``expires_at``."""

    reader: NamespaceName
    publisher: NamespaceName
    event_id: bytes
    envelope: bytes
    expires_at: datetime


def in_order(kinds: Iterable[FeedKind]) -> tuple[FeedKind, ...]:
    """Return each kind once, in the one order that cursors keep them in."""
    wanted = set(kinds)
    return tuple(kind for kind in FeedKind if kind in wanted)
