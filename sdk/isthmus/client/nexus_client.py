"""A client of one service at one endpoint."""
# ruff: noqa: A002, ANN401 - parameters are named and typed as in temporalio and nexusrpc

from collections.abc import Iterable
from typing import Any, Generic, TypeVar, Unpack, overload

import nexusrpc

from isthmus.client.batch import Start, start_inputs
from isthmus.client.engine import AsyncEngine
from isthmus.client.handle import OperationHandle
from isthmus.client.interceptor import ClientOutbound, StartInput
from isthmus.client.known_operation import KnownOperation
from isthmus.client.operation_spec import OperationSpecs
from isthmus.client.request import StartKeywords, StartOptions, operation_id_of, start_options
from isthmus.transport.errors import ConfigurationError
from isthmus.wire.names import parse_operation_id

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
ServiceT = TypeVar("ServiceT")


class NexusClient(Generic[ServiceT]):
    """Calls one service at one endpoint."""

    def __init__(
        self, engine: AsyncEngine, outbound: ClientOutbound, *, endpoint: str, service: type[ServiceT] | str
    ) -> None:
        self._engine = engine
        self._outbound = outbound
        self._specs = OperationSpecs(endpoint, service)

    @overload
    async def execute_operation(
        self, operation: nexusrpc.Operation[InputT, OutputT], input: InputT, **options: Unpack[StartKeywords]
    ) -> OutputT: ...

    @overload
    async def execute_operation(
        self, operation: Any, input: Any = None, **options: Unpack[StartKeywords]
    ) -> Any: ...

    async def execute_operation(
        self, operation: Any, input: Any = None, **options: Unpack[StartKeywords]
    ) -> Any:
        """Start an operation, or attach to the one under the same id, and return its result.

        Args:
            operation: an attribute of the service, a method of a service handler, or a name.
            input: its input.
            **options: see StartOptions.

        Raises:
            nexusrpc.OperationError: it failed or was canceled; see ``attested``.
            nexusrpc.HandlerError: the handler could not handle it.
            GatewayError: the gateway refuses the start, or could not be reached in time.
            UnprovenOutcomeError: only the gateway says that it ended.
            UnverifiedAnswerError: what the gateway shows is not authentic.
            TrustError: the endpoint is not pinned.
            PayloadConversionError: the input or the result has a type that does not convert.
            PayloadTooLargeError: the sealed input is larger than 4 MiB.
            ConfigurationError: an option, a name or a label makes no sense.
        """
        return await self._outbound.execute_operation(
            self._start_input(operation, input, start_options(options, method="execute_operation"))
        )

    @overload
    async def start_operation(
        self, operation: nexusrpc.Operation[InputT, OutputT], input: InputT, **options: Unpack[StartKeywords]
    ) -> OperationHandle[OutputT]: ...

    @overload
    async def start_operation(
        self, operation: Any, input: Any = None, **options: Unpack[StartKeywords]
    ) -> OperationHandle[Any]: ...

    async def start_operation(
        self, operation: Any, input: Any = None, **options: Unpack[StartKeywords]
    ) -> OperationHandle[Any]:
        """Start an operation, or attach to the one under the same id. Durable once it returns.

        Args and errors are those of execute_operation; endings are raised by the handle's ``result``.
        """
        known = await self._outbound.start_operation(
            self._start_input(operation, input, start_options(options, method="start_operation"))
        )
        return OperationHandle(self._outbound, known)

    async def start_operations(self, starts: Iterable[Start]) -> list[OperationHandle[Any] | Exception]:
        """Start many operations, each for itself: ``[Start(Reports.make, "May", id="may"), …]``.

        Returns in their order a handle of each that is durable, or why it was not started: one that is
        refused holds up no other. Whoever repeats the call with the same ids attaches to what was started.

        Raises:
            ConfigurationError: an option or a name makes no sense. Nothing is started.
        """
        answers = await self._outbound.start_operations(start_inputs(self._specs, starts))
        return [
            answer if isinstance(answer, Exception) else OperationHandle(self._outbound, answer)
            for answer in answers
        ]

    def get_operation_handle(
        self,
        operation: Any,
        *,
        id: str | None = None,
        generation: int = 1,
        operation_id: str | None = None,
    ) -> OperationHandle[Any]:
        """Return a handle of an operation that was started before, here or in another process.

        Args:
            operation: an attribute of the service, a method of a service handler, or a name.
            id: the id that it was started with, or
            generation: which of the operations under that id; ``restart_if_failed`` starts more than one.
            operation_id: ``op-…``.

        Raises:
            ConfigurationError: not exactly one of the two ids is given, or there is no such operation.
            WireFormatError: operation_id is malformed.
        """
        spec = self._specs.of(operation)
        if (id is None) == (operation_id is None):
            raise ConfigurationError("pass id= or operation_id=, one of them")
        if operation_id is not None:
            number = parse_operation_id(operation_id)
            known = KnownOperation(number, spec.output_type)
        else:
            if generation < 1:
                raise ConfigurationError("generations are counted from 1")
            number = operation_id_of(self._engine.caller, spec, id or "", generation=generation)
            known = KnownOperation(number, spec.output_type, generation=generation)
        return OperationHandle(self._outbound, known)

    def _start_input(self, operation: Any, value: Any, options: StartOptions) -> StartInput:
        spec = self._specs.of(operation)
        return StartInput(spec=spec, value=value, options=options)
