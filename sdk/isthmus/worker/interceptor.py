"""Wrap what a worker runs. The names are those of ``temporalio.worker``, whose interceptors look the same."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nexusrpc.handler import (
    CancelOperationContext,
    MiddlewareSafeOperationHandler,
    OperationContext,
    OperationHandlerMiddleware,
    StartOperationContext,
    StartOperationResultAsync,
    StartOperationResultSync,
)

StartResult = StartOperationResultSync[Any] | StartOperationResultAsync


@dataclass(slots=True, kw_only=True)
class ExecuteNexusOperationStartInput:
    """What a start is about to be called with. Its representation does not show the input: it was sealed."""

    ctx: StartOperationContext
    input: Any = field(repr=False)


@dataclass(slots=True, kw_only=True)
class ExecuteNexusOperationCancelInput:
    """What a cancel is about to be called with. Its representation does not show the token: it was sealed."""

    ctx: CancelOperationContext
    token: str = field(repr=False)


class NexusOperationInboundInterceptor:
    """One layer around the handlers; calls ``next`` unless it answers itself."""

    def __init__(self, next: "NexusOperationInboundInterceptor") -> None:  # noqa: A002 - temporalio's name
        self.next = next

    async def execute_nexus_operation_start(self, input: ExecuteNexusOperationStartInput) -> StartResult:  # noqa: A002
        """Run a start."""
        return await self.next.execute_nexus_operation_start(input)

    async def execute_nexus_operation_cancel(self, input: ExecuteNexusOperationCancelInput) -> None:  # noqa: A002
        """Run a cancel."""
        await self.next.execute_nexus_operation_cancel(input)


class Interceptor:
    """Makes a layer for each call; a worker's first interceptor is the outermost."""

    def intercept_nexus_operation(
        self,
        next: NexusOperationInboundInterceptor,  # noqa: A002 - temporalio's name
    ) -> NexusOperationInboundInterceptor:
        """Return a layer around ``next``, or ``next`` itself."""
        return next


class InterceptorMiddleware(OperationHandlerMiddleware):
    """Puts interceptors between a ``nexusrpc.handler.Handler`` and its operation handlers."""

    def __init__(self, interceptors: Sequence[Interceptor]) -> None:
        self._innermost_first = tuple(reversed(interceptors))

    def intercept(
        self,
        ctx: OperationContext,  # noqa: ARG002 - each input carries it
        next: MiddlewareSafeOperationHandler,  # noqa: A002 - nexusrpc's name
    ) -> MiddlewareSafeOperationHandler:
        """Return the handler behind all interceptors."""
        layer: NexusOperationInboundInterceptor = _Innermost(next)
        for interceptor in self._innermost_first:
            layer = interceptor.intercept_nexus_operation(layer)
        return _Outermost(layer)


class _Innermost(NexusOperationInboundInterceptor):
    def __init__(self, handler: MiddlewareSafeOperationHandler) -> None:
        # Nothing is behind it.
        super().__init__(self)
        self._handler = handler

    async def execute_nexus_operation_start(self, input: ExecuteNexusOperationStartInput) -> StartResult:  # noqa: A002
        return await self._handler.start(input.ctx, input.input)

    async def execute_nexus_operation_cancel(self, input: ExecuteNexusOperationCancelInput) -> None:  # noqa: A002
        await self._handler.cancel(input.ctx, input.token)


class _Outermost(MiddlewareSafeOperationHandler):
    def __init__(self, layer: NexusOperationInboundInterceptor) -> None:
        self._layer = layer

    async def start(self, ctx: StartOperationContext, input: Any) -> StartResult:  # noqa: A002, ANN401
        return await self._layer.execute_nexus_operation_start(
            ExecuteNexusOperationStartInput(ctx=ctx, input=input)
        )

    async def cancel(self, ctx: CancelOperationContext, token: str) -> None:
        await self._layer.execute_nexus_operation_cancel(
            ExecuteNexusOperationCancelInput(ctx=ctx, token=token)
        )
