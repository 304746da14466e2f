"""What the workers of the tests serve."""

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

import nexusrpc
from nexusrpc.handler import (
    CancelOperationContext,
    OperationHandler,
    StartOperationContext,
    StartOperationResultAsync,
    operation_handler,
    service_handler,
    sync_operation,
)

from isthmus.worker import TaskContext, current


@dataclass
class Charge:
    """An input."""

    order: str
    cents: int


@dataclass
class Receipt:
    """A result."""

    order: str
    reference: str


@nexusrpc.service
class Payments:
    """The service."""

    charge: nexusrpc.Operation[Charge, Receipt]
    charge_in_thread: nexusrpc.Operation[Charge, Receipt]
    wait: nexusrpc.Operation[Charge, Receipt]
    wait_in_thread: nexusrpc.Operation[Charge, Receipt]
    fail: nexusrpc.Operation[str, None]
    settle: nexusrpc.Operation[Charge, Receipt]
    anything: nexusrpc.Operation[None, Any]


class Settle(OperationHandler[Charge, Receipt]):
    """Finishes later."""

    def __init__(self, handler: "PaymentsHandler") -> None:
        self._handler = handler

    async def start(self, ctx: StartOperationContext, input: Charge) -> StartOperationResultAsync:  # noqa: A002
        """Answer with the order as the token."""
        return StartOperationResultAsync(token=input.order)

    def cancel(self, ctx: CancelOperationContext, token: str) -> None:
        """Keep the token, in a thread; or fail as the test says."""
        self._handler.canceled.append((token, threading.current_thread().name))
        if self._handler.raises is not None:
            raise self._handler.raises


@service_handler(service=Payments)
@dataclass
class PaymentsHandler:
    """The handlers, with what the tests look at and turn."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    thread_started: threading.Event = field(default_factory=threading.Event)
    contexts: list[TaskContext] = field(default_factory=list)
    starts: list[StartOperationContext] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)
    canceled: list[tuple[str, str]] = field(default_factory=list)
    runs: int = 0
    raises: Exception | None = None
    result: object = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @sync_operation
    async def charge(self, ctx: StartOperationContext, input: Charge) -> Receipt:  # noqa: A002
        """Answer at once."""
        self.runs += 1
        self.contexts.append(current())
        self.starts.append(ctx)
        return Receipt(order=input.order, reference=f"paid {input.cents}")

    @sync_operation
    def charge_in_thread(self, ctx: StartOperationContext, input: Charge) -> Receipt:  # noqa: A002
        """Answer from a thread."""
        self.contexts.append(current())
        self.threads.append(threading.current_thread().name)
        return Receipt(order=input.order, reference="thread")

    @sync_operation
    async def wait(self, ctx: StartOperationContext, input: Charge) -> Receipt:  # noqa: A002
        """Answer when the test says so."""
        self.runs += 1
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            assert ctx.task_cancellation.is_cancelled()
            self.stopped.set()
            raise
        return Receipt(order=input.order, reference="waited")

    @sync_operation
    def wait_in_thread(self, ctx: StartOperationContext, input: Charge) -> Receipt:  # noqa: A002
        """Answer when the task is canceled, and decide against the cancel."""
        self.thread_started.set()
        ctx.task_cancellation.wait_until_cancelled_sync(10)
        return Receipt(order=input.order, reference=ctx.task_cancellation.cancellation_reason() or "")

    @sync_operation
    async def fail(self, ctx: StartOperationContext, input: str) -> None:  # noqa: A002
        """Raise what the test says."""
        assert self.raises is not None
        raise self.raises

    @sync_operation
    async def anything(self, ctx: StartOperationContext, input: None) -> Any:  # noqa: A002, ANN401
        """Return what the test says, or raise it."""
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    @operation_handler
    def settle(self) -> OperationHandler[Charge, Receipt]:
        """An operation that finishes later."""
        return Settle(self)
