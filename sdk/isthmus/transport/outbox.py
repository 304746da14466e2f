"""What a session still has to send, and how it becomes frames."""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from isthmus.transport.errors import GatewayError, IsthmusError
from isthmus.v1 import operation_service_pb2

_MAX_FRAME_CALLS: Final = 512
_SOFT_FRAME_BYTES: Final = 2 * 1024 * 1024


@dataclass(slots=True, kw_only=True, eq=False)
class OpenCall:
    """A call that waits for its answer."""

    call: operation_service_pb2.SessionCall
    size_bytes: int
    answer: asyncio.Future[operation_service_pb2.SessionReply]
    timeout_seconds: float
    deadline: float
    """On the event loop's clock."""
    queued: bool = False
    """It is in the outbox, or a timer will put it there: a new stream does not queue it again."""
    attempts: int = 0
    last_error: IsthmusError | None = None
    unary: asyncio.Task[None] | None = None

    def fail(self, error: IsthmusError) -> None:
        """End the wait with an error, unless it has ended."""
        if not self.answer.done():
            told = error.of_operation() if isinstance(error, GatewayError) else error
            self.answer.set_exception(told)

    def resolve(self, reply: operation_service_pb2.SessionReply) -> None:
        """End the wait with the answer, unless it has ended."""
        if not self.answer.done():
            self.answer.set_result(reply)


class Outbox:
    """Calls and abandons in their order; whatever is there when a frame is made goes into it."""

    def __init__(self) -> None:
        self._items: deque[OpenCall | int] = deque()
        self._filled = asyncio.Event()

    def add(self, entry: OpenCall) -> None:
        """Queue a call."""
        entry.queued = True
        self._items.append(entry)
        self._filled.set()

    def abandon(self, call_id: int) -> None:
        """Queue the word that nobody waits for a call any more."""
        self._items.append(call_id)
        self._filled.set()

    def restart(self, open_calls: Iterable[OpenCall]) -> None:
        """Prepare for a new stream: every open call again, in order, and no abandons."""
        for entry in open_calls:
            if not entry.queued:
                self.add(entry)
        kept = [item for item in self._items if isinstance(item, OpenCall)]
        kept.sort(key=lambda entry: entry.call.call_id)
        self._items = deque(kept)

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()

    async def wait(self) -> None:
        """Return once there is something to send."""
        while not self._items:
            self._filled.clear()
            await self._filled.wait()

    def next_frame(self) -> operation_service_pb2.SessionRequest | None:
        """Take what fits into one frame; None when all of it was given up meanwhile."""
        frame = operation_service_pb2.SessionRequest()
        size_bytes = 0
        while self._items and len(frame.calls) < _MAX_FRAME_CALLS:
            item = self._items[0]
            if isinstance(item, OpenCall):
                if frame.calls and size_bytes + item.size_bytes > _SOFT_FRAME_BYTES:
                    break
                size_bytes += item.size_bytes
                item.queued = False
                if not item.answer.done():
                    frame.calls.append(item.call)
            else:
                frame.calls.add(call_id=item).abandon.SetInParent()
            self._items.popleft()
        return frame if frame.calls else None
