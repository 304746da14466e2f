"""Client and worker of two teams talk about a running operation, over every way there is."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import nexusrpc
import pytest
from nexusrpc.handler import (
    CancelOperationContext,
    OperationHandler,
    StartOperationContext,
    StartOperationResultAsync,
    operation_handler,
    service_handler,
    sync_operation,
)

from isthmus.client.sync import SyncClient
from isthmus.testing import LocalGateway
from isthmus.transport.channel import ChannelSettings
from isthmus.transport.errors import NotFoundError, PreconditionFailedError
from isthmus.worker import SignalContext, complete, current, signal_handler

OFTEN = timedelta(milliseconds=1)


@dataclass
class Rows:
    """How far it is."""

    done: int
    of: int


@nexusrpc.service
class Loads:
    """Takes a while."""

    load: nexusrpc.Operation[int, int]


@service_handler(service=Loads)
@dataclass
class LoadsHandler:
    """Reports each row, then waits until the test has seen it."""

    seen: "asyncio.Queue[int]" = field(default_factory=asyncio.Queue)
    fails_at: int = 0

    @sync_operation
    async def load(self, _ctx: StartOperationContext, rows: int) -> int:
        """Load row by row."""
        context = current()
        for row in range((context.heartbeat_details or 0) + 1, rows + 1):
            await context.progress(Rows(done=row, of=rows)).durable()
            if row == self.fails_at and context.attempt == 1:
                context.heartbeat(row)
                raise nexusrpc.HandlerError("once", type=nexusrpc.HandlerErrorType.UNAVAILABLE)
            await self.seen.get()
        return rows


@pytest.mark.parametrize("transport", ["stream", "unary"])
async def test_caller_sees_each_step_when_it_watches(
    local_gateway: LocalGateway, transport: Literal["stream", "unary"]
) -> None:
    """In order, each once, over attempts; then the watch ends, and the result is there."""
    handler = LoadsHandler(fails_at=2)
    async with local_gateway as gateway:
        await gateway.endpoint("loads", namespace="app-team", allow=["data-team"])
        serving: Sequence[Any] = [handler]
        async with gateway.worker(
            "app-team",
            task_queue="loads",
            nexus_service_handlers=serving,
            transport=transport,
            heartbeat_interval=OFTEN,
        ):
            client = await gateway.client("data-team")
            loads = client.create_nexus_client(endpoint="loads", service=Loads)
            handle = await loads.start_operation(Loads.load, 4)
            found: list[Rows] = []
            async for rows in handle.progress(Rows):
                found.append(rows)
                if rows.done != handler.fails_at:
                    handler.seen.put_nowait(rows.done)
            assert found == [Rows(done=number, of=4) for number in range(1, 5)]
            assert await handle.progress_now() == {"done": 4, "of": 4}
            assert await handle.result() == 4
            # Whoever comes late gets the last that there was.
            late = client.get_operation_handle(handle.operation_id, result_type=int)
            assert [rows async for rows in late.progress()] == [{"done": 4, "of": 4}]


async def test_sync_caller_sees_progress_when_it_watches_without_a_loop(local_gateway: LocalGateway) -> None:
    """The same calls, blocking."""
    handler = LoadsHandler()
    async with local_gateway as gateway:
        await gateway.endpoint("loads", namespace="app-team", allow=["data-team"])
        about = await gateway.namespace("data-team")
        loop = asyncio.get_running_loop()

        def watch() -> list[object]:
            with SyncClient.connect(
                channel=ChannelSettings(address=gateway.address),
                keyring=about.keyring,
                trust=about.trust,
                credentials=about.credentials,
            ) as client:
                handle = client.create_nexus_client("loads", Loads).start_operation(Loads.load, 2)
                found: list[object] = [handle.progress_now()]
                for rows in handle.progress(Rows):
                    found.append(rows.done)
                    loop.call_soon_threadsafe(handler.seen.put_nowait, rows.done)
                return [*found, handle.result()]

        async with gateway.worker("app-team", task_queue="loads", nexus_service_handlers=[handler]):
            found = await asyncio.to_thread(watch)
        assert found[1:] == [1, 2, 2]


@dataclass
class Approval:
    """What is signaled."""

    by: str


@nexusrpc.service
class Orders:
    """Waits for what its caller says."""

    collect: nexusrpc.Operation[int, list[str]]
    collect_in_thread: nexusrpc.Operation[int, list[str]]
    transfer: nexusrpc.Operation[str, str]


class Transfer(OperationHandler[str, str]):
    """Finishes later, once it is approved."""

    def __init__(self, handler: "OrdersHandler") -> None:
        self._handler = handler

    async def start(self, ctx: StartOperationContext, input: str) -> StartOperationResultAsync:  # noqa: A002
        """Go on elsewhere."""
        return StartOperationResultAsync(token=f"transfer-{input}")

    async def cancel(self, ctx: CancelOperationContext, token: str) -> None:
        """Nothing can be canceled."""

    @signal_handler
    async def approve(self, ctx: SignalContext, approval: Approval) -> None:
        """Take an approval; the first delivery fails."""
        self._handler.calls.append((ctx.token, ctx.signal.id, approval))
        if len(self._handler.calls) == 1:
            raise nexusrpc.HandlerError("not yet", type=nexusrpc.HandlerErrorType.UNAVAILABLE)
        self._handler.approved.put_nowait(ctx)

    @signal_handler(name="*")
    def other(self, ctx: SignalContext, value: Any) -> None:  # noqa: ANN401
        """Take everything else, in a thread."""
        self._handler.others.append((ctx.signal.name, value))
        raise nexusrpc.HandlerError("no use", type=nexusrpc.HandlerErrorType.BAD_REQUEST)


@service_handler(service=Orders)
@dataclass
class OrdersHandler:
    """Serves Orders."""

    calls: list[tuple[str, str, Approval]] = field(default_factory=list)
    others: list[tuple[str, object]] = field(default_factory=list)
    approved: "asyncio.Queue[SignalContext]" = field(default_factory=asyncio.Queue)
    fails_after: int = 0
    received: list[str] = field(default_factory=list)

    @sync_operation
    async def collect(self, _ctx: StartOperationContext, wanted: int) -> list[str]:
        """Return who signaled; fail once in between."""
        found: list[str] = []
        async for signal in current().signals():
            assert signal.name == "approve"
            found.append(signal.value_as(Approval).by)
            self.received.append(signal.id)
            if len(found) == self.fails_after and current().attempt == 1:
                raise nexusrpc.HandlerError("once", type=nexusrpc.HandlerErrorType.UNAVAILABLE)
            if len(found) == wanted:
                break
        return found

    @sync_operation
    def collect_in_thread(self, _ctx: StartOperationContext, wanted: int) -> list[str]:
        """Return who signaled, from a thread."""
        return [signal.value["by"] for _, signal in zip(range(wanted), current().signals(), strict=False)]

    @operation_handler
    def transfer(self) -> OperationHandler[str, str]:
        """Finish later."""
        return Transfer(self)


@pytest.mark.parametrize("transport", ["stream", "unary"])
async def test_handler_gets_signals_in_order_when_its_caller_sends_them(
    local_gateway: LocalGateway, transport: Literal["stream", "unary"]
) -> None:
    """All of them, and all again from the first on the next attempt."""
    handler = OrdersHandler(fails_after=2)
    async with local_gateway as gateway:
        await gateway.endpoint("orders", namespace="app-team", allow=["data-team"])
        async with gateway.worker(
            "app-team", task_queue="orders", nexus_service_handlers=[handler], transport=transport
        ):
            client = await gateway.client("data-team")
            orders = client.create_nexus_client(endpoint="orders", service=Orders)
            handle = await orders.start_operation(Orders.collect, 4)
            await asyncio.gather(*[handle.signal("approve", Approval(by=str(n))) for n in range(3)])
            # Another process of the caller has a line of its own.
            await client.get_operation_handle(handle.operation_id, result_type=list).signal(
                "approve", {"by": "another"}
            )
            assert await handle.result() == ["0", "1", "2", "another"]
            assert handler.received[:2] == handler.received[2:4]
            assert len(set(handler.received)) == 4
            in_thread = await orders.start_operation(Orders.collect_in_thread, 2)
            for name in ("a", "b"):
                await in_thread.signal("approve", {"by": name})
            assert await in_thread.result() == ["a", "b"]
            with pytest.raises(PreconditionFailedError):
                await in_thread.signal("approve", {"by": "late"})
            unknown = client.get_operation_handle("op-" + "a" * 26, result_type=str)
            with pytest.raises(NotFoundError):
                await unknown.signal("approve")


async def test_signal_handler_is_called_when_the_operation_finishes_later(
    local_gateway: LocalGateway,
) -> None:
    """With token and typed value, again after a failure; what it cannot use is dropped, the next follows."""
    handler = OrdersHandler()
    async with local_gateway as gateway:
        await gateway.endpoint("orders", namespace="app-team", allow=["data-team"])
        async with gateway.worker("app-team", task_queue="orders", nexus_service_handlers=[handler]):
            client = await gateway.client("data-team")
            orders = client.create_nexus_client(endpoint="orders", service=Orders)
            handle = await orders.start_operation(Orders.transfer, "7")
            about = await gateway.namespace("data-team")

            def signal() -> None:
                with SyncClient.connect(
                    channel=ChannelSettings(address=gateway.address),
                    keyring=about.keyring,
                    trust=about.trust,
                    credentials=about.credentials,
                ) as sync_client:
                    blocking = sync_client.get_operation_handle(handle.operation_id, result_type=str)
                    blocking.signal("hurry", 1)
                    blocking.signal("approve", Approval(by="ada"))

            await asyncio.to_thread(signal)
            context = await handler.approved.get()
            assert handler.others == [("hurry", 1)]
            first, second = handler.calls
            assert first == second == ("transfer-7", context.signal.id, Approval(by="ada"))
            assert (context.operation_id, context.caller_namespace) == (handle.operation_id, "data-team")
            assert context.signal.sequence == 2
            await complete(
                await gateway.client("app-team"),
                context.operation_id,
                caller_namespace=context.caller_namespace,
                result="done",
            )
            assert await handle.result() == "done"
