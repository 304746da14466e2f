"""What is inside all interceptors of an async client: the flows themselves."""
# ruff: noqa: A002, ANN401 - parameters are named and typed as in temporalio and nexusrpc

from collections.abc import Awaitable
from typing import Any

from isthmus.client.answer import Outcome
from isthmus.client.description import OperationDescription, describe
from isthmus.client.engine import AsyncEngine
from isthmus.client.flows import Started, cancel_flow, describe_flow, start_flow
from isthmus.client.interceptor import ClientOutbound, HandleInput, StartInput
from isthmus.client.known_operation import KnownOperation
from isthmus.payload.converter import PayloadConverter


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

    async def execute_operation(self, input: StartInput) -> Any:
        """Start, or attach, and wait."""
        started = await self._start(input, wait=True)
        return value_of(started.outcome, self._converter, input.spec.output_type)

    async def get_result(self, input: HandleInput) -> Any:
        """Wait."""
        known, engine = input.known, self._engine
        outcome = await engine.run(known.outcome(engine.caller, engine.clock, wait=input.wait))
        return value_of(outcome, self._converter, known.output_type)

    async def cancel_operation(self, input: HandleInput) -> None:
        """Ask to cancel."""
        known, engine = input.known, self._engine
        request = await engine.run(known.request(engine.caller, engine.clock))
        await engine.run(cancel_flow(engine.caller, request, engine.clock))

    async def describe_operation(self, input: HandleInput) -> OperationDescription:
        """Look."""
        operation_id = input.known.operation_id
        return describe(await self._engine.run(describe_flow(operation_id)))

    def _start(self, input: StartInput, *, wait: bool) -> Awaitable[Started]:
        engine = self._engine
        payload = self._converter.to_payload(input.value)
        return engine.run(
            start_flow(engine.caller, input.spec, payload, input.options, engine.clock, wait=wait)
        )


def value_of(outcome: Outcome | None, converter: PayloadConverter, output_type: object) -> Any:
    """Return the result, or raise how it ended. Raises PayloadConversionError for an unexpected type."""
    if outcome is None:
        raise AssertionError
    if outcome.error is not None:
        raise outcome.error
    if outcome.payload is None:
        raise AssertionError
    return converter.from_payload(outcome.payload, output_type)
