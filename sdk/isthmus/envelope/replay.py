"""What an end remembers about messages that it opened, so that a replay changes nothing.

Both guards are bounded: the oldest entry is forgotten first. And they are the memory of one process: what
outlives a guard, or reaches another process, is refused by expiry (requests, cancels, signals) or by the
request digest (everything else). Until it expires, a second request of an operation is the first one to a
process that did not see the other. They are safe to share between threads.
"""

import threading
from collections import OrderedDict
from enum import Enum, unique

from isthmus.envelope.errors import EnvelopeRejectedError, RejectionReason
from isthmus.wire.header import Direction, Header

DEFAULT_CAPACITY = 65_536


@unique
class Delivery(Enum):
    """Whether a message was seen before."""

    FIRST = "first"
    REPEATED = "repeated"


class RedeliveryGuard:
    """Accepts the same request of an operation again, and refuses another one under its id."""

    __slots__ = ("_capacity", "_lock", "_seen")

    def __init__(self, *, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()

    def admit(self, header: Header, digest: bytes) -> Delivery:
        """Remember a verified request.

        Raises:
            EnvelopeRejectedError: the sender signed another request for this operation before, or it is no
            request.

        """
        if header.direction is not Direction.REQUEST:
            raise EnvelopeRejectedError(RejectionReason.DIRECTION)
        key = (header.sender_namespace, header.operation_id)
        with self._lock:
            known = self._seen.get(key)
            if known is None:
                self._seen[key] = digest
                if len(self._seen) > self._capacity:
                    self._seen.popitem(last=False)
                return Delivery.FIRST
            self._seen.move_to_end(key)
        if known != digest:
            raise EnvelopeRejectedError(RejectionReason.REPLAY)
        return Delivery.REPEATED


class SequenceGuard:
    """Keeps signals and progress of one operation in the order of their sender.

    Signals are gapless from 1: a missing one is refused until the missing ones have come, so the gateway can
    neither reorder nor drop. Of progress only the latest counts: gaps are allowed, going back is not. A
    repeated message is reported as such when it is the latest one, or any earlier signal; the ends then
    ignore it.
    """

    __slots__ = ("_capacity", "_last", "_lock")

    def __init__(self, *, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._last: OrderedDict[tuple[str, bytes, Direction, bytes], tuple[int, bytes]] = OrderedDict()

    def admit(self, header: Header, digest: bytes) -> Delivery:
        """Remember a verified signal or progress message.

        Raises:
            EnvelopeRejectedError: it is out of order, or its number was used by another message.

        """
        gapless = header.direction is Direction.SIGNAL
        if not gapless and header.direction is not Direction.PROGRESS:
            raise EnvelopeRejectedError(RejectionReason.DIRECTION)
        key = (header.sender_namespace, header.operation_id, header.direction, header.sender_session)
        with self._lock:
            last, last_digest = self._last.get(key, (0, b""))
            if header.sequence > last + 1 and gapless:
                raise EnvelopeRejectedError(RejectionReason.ORDER)
            if header.sequence == last and digest != last_digest:
                raise EnvelopeRejectedError(RejectionReason.REPLAY)
            if header.sequence < last and not gapless:
                raise EnvelopeRejectedError(RejectionReason.ORDER)
            if header.sequence <= last:
                return Delivery.REPEATED
            self._last[key] = (header.sequence, digest)
            self._last.move_to_end(key)
            if len(self._last) > self._capacity:
                self._last.popitem(last=False)
        return Delivery.FIRST
