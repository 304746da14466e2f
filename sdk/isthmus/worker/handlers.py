"""The handlers of a worker: ``nexusrpc.handler.Handler``, its threads, and the input that it asks for."""

import asyncio
import concurrent.futures
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, ParamSpec, TypeVar, cast

import nexusrpc
from nexusrpc.handler import (
    CancelOperationContext,
    Handler,
    MiddlewareSafeOperationHandler,
    OperationContext,
    OperationHandler,
    OperationHandlerMiddleware,
    StartOperationContext,
)

from isthmus.blobs.claim_checks import Content
from isthmus.blobs.file import File
from isthmus.payload.converter import PayloadConverter
from isthmus.payload.errors import PayloadConversionError
from isthmus.worker.interceptor import Interceptor, InterceptorMiddleware, StartResult
from isthmus.worker.signal_handlers import SignalContext, SignalMethods, value_for
from isthmus.worker.some_names import some_names

P = ParamSpec("P")
T = TypeVar("T")

_MOST_NAMES: Final = 20


class ContextExecutor(concurrent.futures.Executor):
    """Runs handlers in another executor, each with the context variables of whoever submits it."""

    def __init__(self, executor: concurrent.futures.Executor) -> None:
        self._executor = executor

    def submit(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[T]:
        """Run ``fn`` with a copy of the current context, unless its task is canceled before its turn."""
        context = contextvars.copy_context()

        def run() -> T:
            if args and isinstance(args[0], OperationContext) and args[0].task_cancellation.is_cancelled():
                raise nexusrpc.OperationError(
                    "canceled before the handler ran", state=nexusrpc.OperationErrorState.CANCELED
                )
            return context.run(fn, *args, **kwargs)

        return self._executor.submit(run)


class PayloadInput:
    """The input of an operation, deserialized when ``nexusrpc`` knows its type."""

    __slots__ = ("_content", "_converter")

    def __init__(self, content: Content, converter: PayloadConverter) -> None:
        self._content = content
        self._converter = converter

    async def consume(self, as_type: type[Any] | None = None) -> Any:  # noqa: ANN401 - whatever the type says
        """Return the value. Raises HandlerError(BAD_REQUEST) when it is not of that type."""
        return _input(self._content, as_type, self._converter)


def _input(content: Content, as_type: type[Any] | None, converter: PayloadConverter) -> Any:  # noqa: ANN401
    if isinstance(content, File):
        return content
    try:
        return converter.from_payload(content, Any if as_type is None else as_type)
    except PayloadConversionError as error:
        raise nexusrpc.HandlerError(
            f"the input does not fit the operation: {error}", type=nexusrpc.HandlerErrorType.BAD_REQUEST
        ) from error


class OperationHandlers:
    """What a worker serves."""

    def __init__(
        self,
        service_handlers: Sequence[Any],
        *,
        executor: concurrent.futures.Executor,
        interceptors: Sequence[Interceptor],
        converter: PayloadConverter,
    ) -> None:
        """Register instances of service handlers; ``def`` handlers run in the executor.

        Raises:
            RuntimeError, TypeError: what nexusrpc objects to in a service handler.
        """
        threads = ContextExecutor(executor)
        middleware: list[OperationHandlerMiddleware] = []
        if interceptors:
            middleware.append(InterceptorMiddleware(interceptors))
        blocking_cancels: dict[tuple[str, str], OperationHandler[Any, Any]] = {}
        if service_handlers:
            middleware.append(_CancelInThread(blocking_cancels, threads))
        self._handler = Handler(service_handlers, threads, middleware)
        self._converter = converter
        # What ``nexusrpc`` would find out again for each call: which starts are coroutines, and their input.
        self._coroutines: dict[tuple[str, str], tuple[OperationHandler[Any, Any], type[Any]]] = {}
        self._intercepted = bool(interceptors)
        self._threads = threads
        self._signals: dict[tuple[str, str], SignalMethods] = {}
        for service in self._handler.service_handlers.values():
            for name, operation in service.operation_handlers.items():
                where = (service.service.name, name)
                if inspect.iscoroutinefunction(operation.start):
                    input_type = service.service.operation_definitions[name].input_type
                    self._coroutines[where] = operation, input_type
                if not inspect.iscoroutinefunction(operation.cancel):
                    blocking_cancels[where] = operation
                self._signals[where] = SignalMethods(operation)

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the services that are served."""
        return tuple(self._handler.service_handlers)

    def input_type(self, service: str, operation: str) -> object:
        """Return what a handler takes; Any where there is none, or it does not say."""
        found = self._handler.service_handlers.get(service)
        definition = None if found is None else found.service.operation_definitions.get(operation)
        return Any if definition is None else definition.input_type

    def is_interruptible(self, service: str, operation: str) -> bool:
        """Tell whether cancelling the asyncio task stops the handler: a thread goes on regardless."""
        return (service, operation) in self._coroutines

    async def start(self, context: StartOperationContext, content: Content) -> StartResult:
        """Run a start. Raises whatever the handler raises."""
        try:
            return await self._started(context, content)
        except SystemExit as error:
            raise _exited(error) from error

    def _started(self, context: StartOperationContext, content: Content) -> Awaitable[StartResult]:
        found = None if self._intercepted else self._coroutines.get((context.service, context.operation))
        if found is None:
            self._check_served(context)
            return self._handler.start_operation(context, PayloadInput(content, self._converter))
        operation, input_type = found
        value = _input(content, input_type, self._converter)
        return cast("Awaitable[StartResult]", operation.start(context, value))

    async def cancel(self, context: CancelOperationContext, token: str) -> None:
        """Run a cancel. Raises whatever the handler raises."""
        self._check_served(context)
        try:
            await self._handler.cancel_operation(context, token)
        except SystemExit as error:
            raise _exited(error) from error

    def _check_served(self, context: OperationContext) -> None:
        """Raise HandlerError(NOT_FOUND) when nothing here serves it, in words that help its caller."""
        services = self._handler.service_handlers
        service = services.get(context.service)
        if service is None:
            raise nexusrpc.HandlerError(
                f"no service {context.service!r} is served here; there are:"
                f" {some_names(services, _MOST_NAMES)}. Check the name, and whether the worker that answers"
                " is the one that you mean",
                type=nexusrpc.HandlerErrorType.NOT_FOUND,
            )
        if context.operation not in service.operation_handlers:
            raise nexusrpc.HandlerError(
                f"service {context.service!r} has no operation {context.operation!r} here; there are:"
                f" {some_names(service.operation_handlers, _MOST_NAMES)}. Check the name, and whether"
                " the worker is of the version that you mean",
                type=nexusrpc.HandlerErrorType.NOT_FOUND,
            )

    async def signal(self, context: SignalContext) -> None:
        """Call the method that takes a signal. Raises whatever it raises.

        Raises:
            HandlerError: NOT_FOUND when there is none.
        """
        methods = self._signals.get((context.service, context.operation))
        method = None if methods is None else methods.of(context.signal.name)
        if method is None:
            raise nexusrpc.HandlerError(
                "the operation has no signal handler of this name", type=nexusrpc.HandlerErrorType.NOT_FOUND
            )
        value = value_for(method, context.signal)
        try:
            if inspect.iscoroutinefunction(method):
                await method(context, value)
            else:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._threads, method, context, value)
        except SystemExit as error:
            raise _exited(error) from error


def _exited(error: SystemExit) -> nexusrpc.HandlerError:
    """Return what a handler's ``sys.exit`` counts as.

    In an asyncio task it would end this worker, and then every worker that the task is delivered to.
    """
    return nexusrpc.HandlerError(f"the handler ended with {error!r}", type=nexusrpc.HandlerErrorType.INTERNAL)


class _CancelInThread(OperationHandlerMiddleware):
    """Awaits ``def cancel`` methods: ``nexusrpc`` 1.5 blocks the event loop until they return."""

    def __init__(
        self,
        blocking: dict[tuple[str, str], OperationHandler[Any, Any]],
        executor: concurrent.futures.Executor,
    ) -> None:
        self._blocking = blocking
        self._executor = executor

    def intercept(
        self,
        ctx: OperationContext,
        next: MiddlewareSafeOperationHandler,  # noqa: A002 - nexusrpc's name
    ) -> MiddlewareSafeOperationHandler:
        if isinstance(ctx, CancelOperationContext):
            operation = self._blocking.get((ctx.service, ctx.operation))
            if operation is not None:
                return _CancelAwaited(next, operation, self._executor)
        return next


class _CancelAwaited(MiddlewareSafeOperationHandler):
    def __init__(
        self,
        handler: MiddlewareSafeOperationHandler,
        operation: OperationHandler[Any, Any],
        executor: concurrent.futures.Executor,
    ) -> None:
        self._handler = handler
        self._operation = operation
        self._executor = executor

    async def start(self, ctx: StartOperationContext, input: Any) -> StartResult:  # noqa: A002, ANN401
        return await self._handler.start(ctx, input)

    async def cancel(self, ctx: CancelOperationContext, token: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, self._operation.cancel, ctx, token)
