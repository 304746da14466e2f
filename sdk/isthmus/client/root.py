"""What is inside all interceptors of an async client: the flows themselves."""
# ruff: noqa: A002, ANN401 - parameters are named and typed as in temporalio and nexusrpc

from collections.abc import Awaitable, Sequence
from typing import Any

from isthmus.blobs.claim_checks import Content
from isthmus.blobs.file import File
from isthmus.client.answer import KnownRequest, Outcome
from isthmus.client.contexts import contexts_flow
from isthmus.client.description import OperationDescription, describe
from isthmus.client.each_start import start_each_async
from isthmus.client.engine import AsyncEngine
from isthmus.client.feed import (
    AcknowledgeInput,
    CompletionsInput,
    CompletionsPage,
    LookInput,
    acknowledge_flow,
    look_flow,
    open_cursor_flow,
)
from isthmus.client.flows import Started, cancel_flow, describe_flow
from isthmus.client.interceptor import (
    ClientOutbound,
    EventInput,
    HandleInput,
    ProgressInput,
    ProgressUpdate,
    SignalInput,
    StartInput,
    StatusesInput,
)
from isthmus.client.known_operation import KnownOperation
from isthmus.client.large_payloads import unpacked_result
from isthmus.client.progress import Progress
from isthmus.client.published_events import Event, Published, PublishInput, event_flow, publish_flow
from isthmus.client.signals import signal_payload
from isthmus.client.starting import start_flow
from isthmus.client.statuses import OperationStatus, statuses_flow
from isthmus.payload.converter import PayloadConverter
from isthmus.payload.payload import Payload


class Root(ClientOutbound):
    """The innermost layer."""

    def __init__(self, engine: AsyncEngine, converter: PayloadConverter) -> None:
        super().__init__(self)  # there is no next layer, and nothing is handed on to it
        self._engine = engine
        self._converter = converter

    async def start_operation(self, input: StartInput) -> KnownOperation:
        """Start, or attach."""
        started = await self._start(input, wait=False)
        return KnownOperation(started.operation_id, input.spec.output_type, started)

    async def start_operations(self, inputs: Sequence[StartInput]) -> list[KnownOperation | Exception]:
        """Start many, so many at a time that whoever else runs here gets a turn."""
        return await start_each_async(self.start_operation, inputs)

    async def execute_operation(self, input: StartInput) -> Any:
        """Start, or attach, and wait."""
        started = await self._start(input, wait=True)
        return await self._value(started.outcome, started.request, input.spec.output_type)

    async def get_result(self, input: HandleInput) -> Any:
        """Wait."""
        known, engine = input.known, self._engine
        outcome = await engine.run(known.outcome(engine.caller, engine.clock, wait=input.wait))
        request = await engine.run(known.request(engine.caller, engine.clock))
        return await self._value(outcome, request, known.output_type)

    async def cancel_operation(self, input: HandleInput) -> None:
        """Ask to cancel."""
        known, engine = input.known, self._engine
        request = await engine.run(known.request(engine.caller, engine.clock))
        await engine.run(cancel_flow(engine.caller, request, engine.clock))

    async def get_contexts(self, input: HandleInput) -> list[bytes]:
        """Fetch and open contexts."""
        known, engine = input.known, self._engine
        request = await engine.run(known.request(engine.caller, engine.clock))
        return await engine.run(contexts_flow(engine.caller, request, engine.clock))

    async def signal_operation(self, input: SignalInput) -> None:
        """Send a signal."""
        engine = self._engine
        payload = signal_payload(input.name, self._converter.to_payload(input.value))
        await engine.run(input.known.signal(engine.caller, engine.clock, payload))

    async def get_progress(self, input: ProgressInput) -> ProgressUpdate:
        """Look how far it is."""
        engine = self._engine
        found = await engine.run(
            input.known.progress(engine.caller, engine.clock, after=input.after, wait=input.wait)
        )
        return progress_update(found, self._converter, input.as_type)

    async def describe_operation(self, input: HandleInput) -> OperationDescription:
        """Look."""
        operation_id = input.known.operation_id
        return describe(await self._engine.run(describe_flow(operation_id, wait=input.wait)))

    async def get_operation_statuses(self, input: StatusesInput) -> list[OperationStatus]:
        """Look at many operations."""
        engine = self._engine
        return await engine.run(statuses_flow(engine.caller, input.operation_ids, engine.clock))

    async def open_completions(self, input: CompletionsInput) -> int:
        """Make a cursor."""
        return await self._engine.run(open_cursor_flow(input))

    async def read_completions(self, input: LookInput) -> CompletionsPage:
        """Look into the feed."""
        return await self._engine.run(look_flow(input))

    async def acknowledge_completions(self, input: AcknowledgeInput) -> None:
        """Move a cursor."""
        await self._engine.run(acknowledge_flow(input))

    async def publish_event(self, input: PublishInput) -> Published:
        """Publish."""
        engine, payload = self._engine, self._converter.to_payload(input.value)
        return await engine.run(publish_flow(engine.caller, input, payload, engine.clock))

    async def get_event(self, input: EventInput) -> Event:
        """Fetch and verify."""
        engine = self._engine
        flow = event_flow(engine.caller, input.notice, engine.clock, self._converter, input.type_hint)
        return await engine.run(flow)

    def _start(self, input: StartInput, *, wait: bool) -> Awaitable[Started]:
        engine = self._engine
        content = content_of(input.value, self._converter)
        return engine.run(
            start_flow(engine.caller, input.spec, content, input.options, engine.clock, wait=wait)
        )

    async def _value(self, outcome: Outcome | None, request: KnownRequest, output_type: object) -> Any:
        payload = payload_of(outcome)
        content: Content = payload
        caller = self._engine.caller
        if caller.claim_checks.must_unpack(payload, output_type):
            content = await self._engine.run(unpacked_result(caller, payload, request.header, output_type))
        return value_of(content, self._converter, output_type)


def content_of(value: object, converter: PayloadConverter) -> Content:
    """Return what is sent: a file as it is, everything else serialized. Raises PayloadConversionError."""
    return value if isinstance(value, File) else converter.to_payload(value)


def payload_of(outcome: Outcome | None) -> Payload:
    """Return the payload of a result, or raise how the operation ended."""
    if outcome is None:
        raise AssertionError
    if outcome.error is not None:
        raise outcome.error
    if outcome.payload is None:
        raise AssertionError
    return outcome.payload


def progress_update(found: Progress, converter: PayloadConverter, as_type: object) -> ProgressUpdate:
    """Return what a look found. Raises PayloadConversionError for an unexpected type."""
    value = None if found.payload is None else converter.from_payload(found.payload, as_type)
    return ProgressUpdate(value=value, sequence=found.sequence, ended=found.ended)


def value_of(content: Content, converter: PayloadConverter, output_type: object) -> Any:
    """Return the result. Raises PayloadConversionError for an unexpected type."""
    return content if isinstance(content, File) else converter.from_payload(content, output_type)
