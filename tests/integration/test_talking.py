"""Client and worker of two teams talk about a running operation, over every way there is."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import nexusrpc
import pytest
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation

from isthmus.client.sync import SyncClient
from isthmus.testing import LocalGateway
from isthmus.transport.channel import ChannelSettings
from isthmus.worker import current

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
async def test_caller_sees_each_step_when_it_watches(transport: Literal["stream", "unary"]) -> None:
    """In order, each once, over attempts; then the watch ends, and the result is there."""
    handler = LoadsHandler(fails_at=2)
    async with LocalGateway() as gateway:
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


async def test_sync_caller_sees_progress_when_it_watches_without_a_loop() -> None:
    """The same calls, blocking."""
    handler = LoadsHandler()
    async with LocalGateway() as gateway:
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
