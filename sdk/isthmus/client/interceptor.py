"""Interceptors: layers around everything that a client does, for tracing, checks and defaults.

::

    class Traced(Interceptor):
        def intercept_client(self, next: ClientOutbound) -> ClientOutbound:
            return TracedOutbound(next)

    class TracedOutbound(ClientOutbound):
        async def execute_operation(self, input: StartInput) -> Any:
            with tracer.start_span(input.spec.operation):
                return await super().execute_operation(input)
"""
# ruff: noqa: A002, ANN401 - parameters are named and typed as in temporalio and nexusrpc

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from isthmus.client.description import OperationDescription
from isthmus.client.each_start import start_each, start_each_async
from isthmus.client.feed import (
    AcknowledgeInput,
    CompletionsInput,
    CompletionsPage,
    EventNotice,
    LookInput,
)
from isthmus.client.known_operation import KnownOperation
from isthmus.client.operation_spec import OperationSpec
from isthmus.client.published_events import Event, Published, PublishInput
from isthmus.client.request import StartOptions
from isthmus.client.statuses import OperationStatus
from isthmus.wire.names import OperationId


@dataclass(frozen=True, slots=True, kw_only=True)
class StartInput:
    """A start or an execute. ``dataclasses.replace`` changes it on its way."""

    spec: OperationSpec
    value: object = field(repr=False)
    """The input of the operation, not yet serialized nor sealed: it does not belong in logs."""
    options: StartOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class HandleInput:
    """Something that is asked of an operation which exists."""

    known: KnownOperation
    wait: timedelta | None = None
    """How long to wait: for a result, or for the answer when one asks where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressInput:
    """A look at how far an operation is."""

    known: KnownOperation
    as_type: object = Any
    """What the progress is, for the payload converter."""
    after: int = 0
    """Only progress with a sequence above this one."""
    wait: timedelta = timedelta(0)
    """How long to wait for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalInput:
    """A signal to an operation."""

    known: KnownOperation
    name: str
    value: object = field(default=None, repr=False)
    """Not yet serialized nor sealed: it does not belong in logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressUpdate:
    """What a look found."""

    value: Any = field(default=None, repr=False)
    sequence: int = 0
    """Of the progress that was found; 0 if there was none."""
    ended: bool = False
    """Whether the operation has ended, says the gateway: nothing newer comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusesInput:
    """What is asked of many operations at once."""

    operation_ids: tuple[OperationId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInput:
    """An event that the feed told of, and the type that its value should have."""

    notice: EventNotice
    type_hint: object


class ClientOutbound:
    """What an async client does; by default each layer hands on to the next."""

    def __init__(self, next: "ClientOutbound") -> None:
        self.next = next

    async def start_operation(self, input: StartInput) -> KnownOperation:
        """Start."""
        return await self.next.start_operation(input)

    async def start_operations(self, inputs: Sequence[StartInput]) -> list[KnownOperation | Exception]:
        """Start many; each has its own answer.

        A layer that does something with each start and says nothing of many gets them one by one: nothing
        goes around what it checks.
        """
        if type(self).start_operation is not ClientOutbound.start_operation:
            return await start_each_async(self.start_operation, inputs)
        return await self.next.start_operations(inputs)

    async def execute_operation(self, input: StartInput) -> Any:
        """Start and wait for the result."""
        return await self.next.execute_operation(input)

    async def get_result(self, input: HandleInput) -> Any:
        """Wait for the result."""
        return await self.next.get_result(input)

    async def cancel_operation(self, input: HandleInput) -> None:
        """Ask to cancel."""
        await self.next.cancel_operation(input)

    async def get_contexts(self, input: HandleInput) -> list[bytes]:
        """Return what this namespace gave along with its starts."""
        return await self.next.get_contexts(input)

    async def signal_operation(self, input: SignalInput) -> None:
        """Send a signal."""
        await self.next.signal_operation(input)

    async def get_progress(self, input: ProgressInput) -> ProgressUpdate:
        """Look how far it is."""
        return await self.next.get_progress(input)

    async def describe_operation(self, input: HandleInput) -> OperationDescription:
        """Look."""
        return await self.next.describe_operation(input)

    async def get_operation_statuses(self, input: StatusesInput) -> list[OperationStatus]:
        """Look at many operations."""
        return await self.next.get_operation_statuses(input)

    async def open_completions(self, input: CompletionsInput) -> int:
        """Make the cursor of a consumer of completions, unless it exists; return its position."""
        return await self.next.open_completions(input)

    async def read_completions(self, input: LookInput) -> CompletionsPage:
        """Look for completions behind a position, or wait for one."""
        return await self.next.read_completions(input)

    async def acknowledge_completions(self, input: AcknowledgeInput) -> None:
        """Say up to where completions are dealt with."""
        await self.next.acknowledge_completions(input)

    async def publish_event(self, input: PublishInput) -> Published:
        """Publish an event."""
        return await self.next.publish_event(input)

    async def get_event(self, input: EventInput) -> Event:
        """Fetch an event that the feed told of, and verify it."""
        return await self.next.get_event(input)


class SyncClientOutbound:
    """What a sync client does; by default each layer hands on to the next."""

    def __init__(self, next: "SyncClientOutbound") -> None:
        self.next = next

    def start_operation(self, input: StartInput) -> KnownOperation:
        """Start."""
        return self.next.start_operation(input)

    def start_operations(self, inputs: Sequence[StartInput]) -> list[KnownOperation | Exception]:
        """Start many; each has its own answer.

        A layer that does something with each start and says nothing of many gets them one by one: nothing
        goes around what it checks.
        """
        if type(self).start_operation is not SyncClientOutbound.start_operation:
            return start_each(self.start_operation, inputs)
        return self.next.start_operations(inputs)

    def execute_operation(self, input: StartInput) -> Any:
        """Start and wait for the result."""
        return self.next.execute_operation(input)

    def get_result(self, input: HandleInput) -> Any:
        """Wait for the result."""
        return self.next.get_result(input)

    def cancel_operation(self, input: HandleInput) -> None:
        """Ask to cancel."""
        self.next.cancel_operation(input)

    def get_contexts(self, input: HandleInput) -> list[bytes]:
        """Return what this namespace gave along with its starts."""
        return self.next.get_contexts(input)

    def signal_operation(self, input: SignalInput) -> None:
        """Send a signal."""
        self.next.signal_operation(input)

    def get_progress(self, input: ProgressInput) -> ProgressUpdate:
        """Look how far it is."""
        return self.next.get_progress(input)

    def describe_operation(self, input: HandleInput) -> OperationDescription:
        """Look."""
        return self.next.describe_operation(input)

    def get_operation_statuses(self, input: StatusesInput) -> list[OperationStatus]:
        """Look at many operations."""
        return self.next.get_operation_statuses(input)

    def open_completions(self, input: CompletionsInput) -> int:
        """Make the cursor of a consumer of completions, unless it exists; return its position."""
        return self.next.open_completions(input)

    def read_completions(self, input: LookInput) -> CompletionsPage:
        """Look for completions behind a position, or wait for one."""
        return self.next.read_completions(input)

    def acknowledge_completions(self, input: AcknowledgeInput) -> None:
        """Say up to where completions are dealt with."""
        self.next.acknowledge_completions(input)

    def publish_event(self, input: PublishInput) -> Published:
        """Publish an event."""
        return self.next.publish_event(input)

    def get_event(self, input: EventInput) -> Event:
        """Fetch an event that the feed told of, and verify it."""
        return self.next.get_event(input)


class Interceptor:
    """Makes layers; the first interceptor of a client is the outermost."""

    def intercept_client(self, next: ClientOutbound) -> ClientOutbound:
        """Return a layer around an async client."""
        return next

    def intercept_sync_client(self, next: SyncClientOutbound) -> SyncClientOutbound:
        """Return a layer around a sync client."""
        return next


def layered(root: ClientOutbound, interceptors: Sequence[Interceptor]) -> ClientOutbound:
    """Return the outermost layer."""
    for interceptor in reversed(interceptors):
        root = interceptor.intercept_client(root)
    return root


def layered_sync(root: SyncClientOutbound, interceptors: Sequence[Interceptor]) -> SyncClientOutbound:
    """Return the outermost layer."""
    for interceptor in reversed(interceptors):
        root = interceptor.intercept_sync_client(root)
    return root
