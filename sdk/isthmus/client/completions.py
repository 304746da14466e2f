"""Completions and events to iterate over, for asyncio and without an event loop.

::

    completions = client.completions("nightly", endpoint="payments")
    async for completion in completions:
        handle = client.get_operation_handle(completion.operation_id, result_type=Receipt)
        await book(await handle.result())
        await completions.acknowledge(completion)
"""

from collections.abc import AsyncIterator, Iterator

from isthmus.client.feed import (
    AcknowledgeInput,
    Completion,
    CompletionsInput,
    CompletionsPage,
    LookInput,
    Progress,
)
from isthmus.client.interceptor import ClientOutbound, EventInput, SyncClientOutbound
from isthmus.client.published_events import Event


class _Consumer:
    """What consumers of completions and of events have in common."""

    def __init__(self, outbound: ClientOutbound, wanted: CompletionsInput, *, follow: bool) -> None:
        self._outbound = outbound
        self._wanted = wanted
        self._follow = follow
        self._progress = Progress()

    async def _pages(self) -> AsyncIterator[CompletionsPage]:
        progress = self._progress = Progress(await self._outbound.open_completions(self._wanted))
        while True:
            look = LookInput(cursor=self._wanted.cursor, after=progress.after, wait=self._follow)
            page = await self._outbound.read_completions(look)
            progress.saw(page)
            yield page
            if progress.passed_by is not None:
                await self._acknowledge(progress.passed_by)
            if not self._follow and not page.more:
                return

    async def _acknowledge(self, position: int) -> None:
        await self._outbound.acknowledge_completions(
            AcknowledgeInput(cursor=self._wanted.cursor, position=position)
        )
        self._progress.acknowledged(position)


class _SyncConsumer:
    """What ``_Consumer`` is for asyncio."""

    def __init__(self, outbound: SyncClientOutbound, wanted: CompletionsInput, *, follow: bool) -> None:
        self._outbound = outbound
        self._wanted = wanted
        self._follow = follow
        self._progress = Progress()

    def _pages(self) -> Iterator[CompletionsPage]:
        progress = self._progress = Progress(self._outbound.open_completions(self._wanted))
        while True:
            look = LookInput(cursor=self._wanted.cursor, after=progress.after, wait=self._follow)
            page = self._outbound.read_completions(look)
            progress.saw(page)
            yield page
            if progress.passed_by is not None:
                self._acknowledge(progress.passed_by)
            if not self._follow and not page.more:
                return

    def _acknowledge(self, position: int) -> None:
        self._outbound.acknowledge_completions(
            AcknowledgeInput(cursor=self._wanted.cursor, position=position)
        )
        self._progress.acknowledged(position)


class Completions(_Consumer):
    """What ended of the operations that this namespace called, behind a cursor that the gateway keeps.

    Each iteration begins behind the last acknowledgement, whichever process made it: what was delivered and
    not acknowledged comes again. So two consumers of one cursor get the same, and repeat each other's work.
    """

    async def __aiter__(self) -> AsyncIterator[Completion]:
        """Return completions, oldest first; with ``follow`` for ever, else until there are none left.

        Raises:
            AlreadyExistsError: the cursor exists and wants something else.
            NotFoundError: somebody deleted the cursor.
            GatewayError: the gateway refuses, or cannot be reached now (without ``follow``).
        """
        async for page in self._pages():
            for completion in page.completions:
                yield completion

    async def acknowledge(self, completion: Completion) -> None:
        """Say that this completion, and every one before it, is dealt with. Durable once it returns.

        Raises:
            GatewayError: the gateway could not be asked; the completion may come again.
        """
        await self._acknowledge(completion.position)


class SyncCompletions(_SyncConsumer):
    """What Completions is for asyncio."""

    def __iter__(self) -> Iterator[Completion]:
        """Return completions, oldest first; as ``Completions``."""
        for page in self._pages():
            yield from page.completions

    def acknowledge(self, completion: Completion) -> None:
        """Say that this completion, and every one before it, is dealt with; as ``Completions``."""
        self._acknowledge(completion.position)


class Events(_Consumer):
    """What other teams published for this namespace, behind a cursor that the gateway keeps.

    Each event is fetched and verified before it is returned: see ``Event.error`` and ``Event.value``. What
    was delivered and not acknowledged comes again, as with ``Completions``.
    """

    def __init__(
        self, outbound: ClientOutbound, wanted: CompletionsInput, *, follow: bool, type_hint: object
    ) -> None:
        super().__init__(outbound, wanted, follow=follow)
        self._type_hint = type_hint

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Return events, oldest first; with ``follow`` for ever, else until there are none left.

        Raises:
            AlreadyExistsError, NotFoundError, GatewayError: as ``Completions``.
        """
        async for page in self._pages():
            for notice in page.notices:
                yield await self._outbound.get_event(EventInput(notice=notice, type_hint=self._type_hint))

    async def acknowledge(self, event: Event) -> None:
        """Say that this event, and every one before it, is dealt with. Durable once it returns.

        Raises:
            GatewayError: the gateway could not be asked; the event may come again.
        """
        await self._acknowledge(event.position)


class SyncEvents(_SyncConsumer):
    """What Events is for asyncio."""

    def __init__(
        self, outbound: SyncClientOutbound, wanted: CompletionsInput, *, follow: bool, type_hint: object
    ) -> None:
        super().__init__(outbound, wanted, follow=follow)
        self._type_hint = type_hint

    def __iter__(self) -> Iterator[Event]:
        """Return events, oldest first; as ``Events``."""
        for page in self._pages():
            for notice in page.notices:
                yield self._outbound.get_event(EventInput(notice=notice, type_hint=self._type_hint))

    def acknowledge(self, event: Event) -> None:
        """Say that this event, and every one before it, is dealt with; as ``Events``."""
        self._acknowledge(event.position)
