"""Reads a feed behind a position, and waits for its next entry."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from isthmus.gateway.api.feed_messages import entry_message
from isthmus.gateway.api.feed_watch import FeedWatch
from isthmus.gateway.commands.cursors import beyond_the_log, cursor_not_found
from isthmus.gateway.core.feed import Cursor
from isthmus.gateway.ports import FeedRecord, Reader, Store
from isthmus.v1 import feed_service_pb2 as pb

# A look is short, and so is what one call looks at: a cursor may want one entry of a million.
RECORDS_A_LOOK = 512
LOOKS_A_CALL = 16


@dataclass(slots=True)
class _Page:
    """What a look found."""

    next_position: int
    entries: list[pb.FeedEntry] = field(default_factory=list)
    more: bool = False


class FeedReading:
    """Answers readers of feeds. Lives on the event loop."""

    def __init__(self, store: Store, watch: FeedWatch) -> None:
        self._store = store
        self._watch = watch

    async def read(
        self, namespace: str, name: str, *, after: int, limit: int, wait_seconds: float
    ) -> pb.ReadFeedResponse:
        """Return entries behind a position, which are not acknowledged yet; wait for the first one.

        Raises:
            NotFoundError: the namespace has no such cursor.
            PreconditionError: the log does not reach that far.
            ExhaustedError: too many read.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        with self._watch.reading(namespace):
            cursor, last_position = await self._store.read(
                lambda reader: (reader.cursor(namespace, name), reader.last_audit_position())
            )
            if cursor is None:
                raise cursor_not_found(name)
            if after > last_position:
                raise beyond_the_log()
            after = max(after, cursor.position)
            while True:
                # Before looking: what is committed after the look wakes the wait below.
                news = self._watch.news(namespace)
                page = await self._page(cursor, after, limit)
                after = page.next_position
                left_seconds = deadline - loop.time()
                if page.entries or page.more or left_seconds <= 0 or self._watch.is_closed:
                    return pb.ReadFeedResponse(
                        entries=page.entries, next_position=page.next_position, more=page.more
                    )
                await asyncio.wait({news}, timeout=left_seconds)

    async def _page(self, cursor: Cursor, after: int, limit: int) -> _Page:
        page = _Page(after)
        for _ in range(LOOKS_A_CALL):
            records = await self._store.read(partial(_look, cursor=cursor, after=page.next_position))
            _fill(page, cursor, records, limit)
            if not page.more or page.entries:
                break
        return page


def _look(reader: Reader, cursor: Cursor, after: int) -> Sequence[FeedRecord]:
    return reader.feed_records(cursor.namespace, after, RECORDS_A_LOOK)


def _fill(page: _Page, cursor: Cursor, records: Sequence[FeedRecord], limit: int) -> None:
    page.more = len(records) == RECORDS_A_LOOK
    for record in records:
        entry = None if record.event is None else entry_message(cursor, record.position, record.event)
        if entry is not None:
            if len(page.entries) == limit:
                page.more = True
                return
            page.entries.append(entry)
        page.next_position = record.position
