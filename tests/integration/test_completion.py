"""Operations that finish later: completed by id or by token from elsewhere, canceled with their token."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import nexusrpc
import pytest
from nexusrpc.handler import (
    CancelOperationContext,
    OperationHandler,
    StartOperationContext,
    StartOperationResultAsync,
    StartOperationResultSync,
    operation_handler,
    service_handler,
    sync_operation,
)

from isthmus.client import Client
from isthmus.client.errors import AttestedOperationError, OperationCanceledError
from isthmus.client.handle import OperationHandle
from isthmus.gateway.ports import AuditFilter
from isthmus.testing import LocalGateway
from isthmus.v1.audit_pb2 import AuditEvent
from isthmus.wire.names import parse_operation_id
from isthmus.worker import CompletionRefusedError, complete, complete_sync

DATA, APP = "data-team", "app-team"


@nexusrpc.service
class Jobs:
    """Work that takes its time."""

    later: nexusrpc.Operation[str, str]
    now: nexusrpc.Operation[str, str]


@dataclass(slots=True)
class Seen:
    """What the handlers were asked for."""

    started: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    canceled: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)
    cancel_trouble: int = 0
    may_return: asyncio.Event = field(default_factory=asyncio.Event)


class LaterHandler(OperationHandler[str, str]):
    """Returns its input as the token."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    async def start(
        self,
        ctx: StartOperationContext,
        input: str,  # noqa: A002 - nexusrpc's name
    ) -> StartOperationResultSync[str] | StartOperationResultAsync:
        """Leave the work to somebody else."""
        self._seen.started.put_nowait(ctx.request_id)
        await self._seen.may_return.wait()
        return StartOperationResultAsync(token=input)

    async def cancel(self, ctx: CancelOperationContext, token: str) -> None:
        """Stop it; the first attempts may fail."""
        self._seen.canceled.put_nowait(token)
        if self._seen.cancel_trouble:
            self._seen.cancel_trouble -= 1
            raise nexusrpc.HandlerError("not now", type=nexusrpc.HandlerErrorType.UNAVAILABLE)


@service_handler(service=Jobs)
class JobsHandler:
    """Serves jobs."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    @operation_handler
    def later(self) -> OperationHandler[str, str]:
        """Finish later."""
        return LaterHandler(self._seen)

    @sync_operation
    async def now(self, ctx: StartOperationContext, text: str) -> str:
        """Run until it is canceled."""
        self._seen.started.put_nowait(ctx.request_id)
        try:
            await asyncio.Event().wait()
        finally:
            self._seen.interrupted.set()
        return text


@dataclass(slots=True, kw_only=True)
class Place:
    """Two teams and a gateway."""

    gateway: LocalGateway
    seen: Seen
    data: Client
    app: Client

    async def start(self, text: str, **options: Any) -> OperationHandle[str]:
        """Start a job that finishes later."""
        jobs = self.data.create_nexus_client(endpoint="jobs", service=Jobs)
        handle: OperationHandle[str] = await jobs.start_operation(Jobs.later, text, **options)
        return handle

    def worker(self) -> AbstractAsyncContextManager[object]:
        """Run a worker."""
        return self.gateway.worker(APP, task_queue="jobs", nexus_service_handlers=[JobsHandler(self.seen)])

    async def until(self, handle: OperationHandle[str], state: str) -> None:
        """Return when an operation is in a state."""
        async with asyncio.timeout(20):
            while (await handle.describe()).state != state:
                pass


@pytest.fixture
async def place(local_gateway: LocalGateway) -> AsyncIterator[Place]:
    """A gateway with an endpoint; no worker yet."""
    async with local_gateway as gateway:
        await gateway.endpoint("jobs", namespace=APP, allow=[DATA])
        seen = Seen()
        seen.may_return.set()
        yield Place(
            gateway=gateway, seen=seen, data=await gateway.client(DATA), app=await gateway.client(APP)
        )


# --- by token -----------------------------------------------------------------------------------------------


async def test_operation_ends_when_it_is_completed_by_its_token(place: Place) -> None:
    """The token is all that the other process knows."""
    async with place.worker():
        handle = await place.start("job/1 ✓" * 300)
        await place.until(handle, "started")
    await complete(place.app, token="job/1 ✓" * 300, result="done")
    assert await handle.result() == "done"


async def test_operation_ends_when_a_sync_process_completes_it(place: Place) -> None:
    """Without an event loop, by token or by id, with a result or an error."""
    async with place.worker():
        handles = [await place.start(f"job/{number}") for number in (1, 2)]
        for handle in handles:
            await place.until(handle, "started")
    app = await place.gateway.sync_client(APP)

    def work() -> None:
        complete_sync(app, token="job/1", result="done")
        error = nexusrpc.OperationError("no", state=nexusrpc.OperationErrorState.FAILED)
        complete_sync(app, handles[1].operation_id, caller_namespace=DATA, error=error)

    await asyncio.to_thread(work)
    assert await handles[0].result() == "done"
    with pytest.raises(AttestedOperationError, match="no"):
        await handles[1].result()


async def test_completion_waits_when_the_start_is_not_recorded_yet(place: Place) -> None:
    """Whoever got the token from the handler may be faster than the gateway."""
    place.seen.may_return.clear()
    async with place.worker():
        handle = await place.start("job/1")
        await place.seen.started.get()
        completion = asyncio.create_task(complete(place.app, token="job/1", result="done"))
        await asyncio.sleep(0)
        place.seen.may_return.set()
        await completion
        assert await handle.result() == "done"


async def test_completion_by_id_is_recorded_when_it_comes_before_the_start(place: Place) -> None:
    """Legal: the start that comes afterwards is no late outcome."""
    place.seen.may_return.clear()
    async with place.worker():
        handle = await place.start("job/1")
        operation_id = await place.seen.started.get()
        await complete(place.app, operation_id, caller_namespace=DATA, result="done")
        assert await handle.result() == "done"
        place.seen.may_return.set()
    store = place.gateway._running()._store
    wanted = AuditFilter(operation_id=parse_operation_id(handle.operation_id))
    stored = await store.read(lambda reader: reader.audit_events(wanted))
    events = [AuditEvent.FromString(entry.event).WhichOneof("event") for entry in stored]
    assert events == ["operation_started", "operation_ended"]


@pytest.mark.parametrize("by", ["token", "id"])
async def test_completion_is_refused_when_the_operation_has_ended(place: Place, by: str) -> None:
    """The first outcome stands; the second one is told so."""
    async with place.worker():
        handle = await place.start("job/1")
        await place.until(handle, "started")
    await complete(place.app, token="job/1", result="done")
    again: Awaitable[None] = (
        complete(place.app, token="job/1", result="again")
        if by == "token"
        else complete(place.app, handle.operation_id, caller_namespace=DATA, result="again")
    )
    with pytest.raises(CompletionRefusedError, match="ended already"):
        await again
    assert await handle.result() == "done"


async def test_completion_is_refused_when_the_token_is_unknown(place: Place) -> None:
    """After as much time as it was given; the token is not repeated in the message."""
    with pytest.raises(CompletionRefusedError, match="not known") as caught:
        await complete(place.app, token="secret-job", result="done", timeout=timedelta(0))
    assert "secret-job" not in str(caught.value)


async def test_completion_is_refused_when_the_token_is_of_another_namespace(place: Place) -> None:
    """The same token means nothing under another key: nobody can even ask for it."""
    async with place.worker():
        handle = await place.start("job/1")
        await place.until(handle, "started")
        with pytest.raises(CompletionRefusedError, match="not known"):
            await complete(place.data, token="job/1", result="done", timeout=timedelta(0))


async def test_completion_is_refused_when_two_operations_have_the_token(place: Place) -> None:
    """A handler that returns the same token twice has to be told which one is meant."""
    async with place.worker():
        handles = [await place.start("job/1") for _ in range(2)]
        for handle in handles:
            await place.until(handle, "started")
    with pytest.raises(CompletionRefusedError, match="two operations"):
        await complete(place.app, token="job/1", result="done")
    await complete(place.app, handles[0].operation_id, caller_namespace=DATA, result="done")
    assert await handles[0].result() == "done"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"operation_id": "op-" + "a" * 26, "token": "t", "caller_namespace": DATA},
        {"operation_id": "op-" + "a" * 26},
        {"token": ""},
        {"token": "x" * 4097},
    ],
    ids=str,
)
@pytest.mark.parametrize("store_kind", ["sqlite"])
async def test_completion_is_refused_when_it_names_no_operation(place: Place, wrong: dict[str, Any]) -> None:
    """An id without its caller could be answered with the request of somebody who uses the same one."""
    with pytest.raises(ValueError, match=r"one of them|caller_namespace|1 to 4096"):
        await complete(place.app, result="done", **wrong)


# --- cancel -------------------------------------------------------------------------------------------------


async def test_operation_ends_when_it_is_canceled_before_a_worker_took_it(place: Place) -> None:
    """The gateway ends it, and the caller's own cancel proves it."""
    handle = await place.start("job/1")
    await handle.cancel()
    await handle.cancel()
    with pytest.raises(OperationCanceledError):
        await handle.result()
    async with place.worker():
        assert place.seen.started.empty()


async def test_handler_is_interrupted_when_its_operation_is_canceled_while_it_runs(place: Place) -> None:
    """It decides how that ends: here it gives up."""
    jobs = place.data.create_nexus_client(endpoint="jobs", service=Jobs)
    async with place.worker():
        handle = await jobs.start_operation(Jobs.now, "job/1")
        await place.seen.started.get()
        await handle.cancel()
        with pytest.raises(AttestedOperationError) as caught:
            await handle.result()
        assert caught.value.state is nexusrpc.OperationErrorState.CANCELED
        assert place.seen.interrupted.is_set()


async def test_handler_gets_the_token_again_when_its_cancel_fails(place: Place) -> None:
    """The operation goes on until the handler's team ends it."""
    place.seen.cancel_trouble = 1
    async with place.worker():
        handle = await place.start("job/1")
        await place.until(handle, "started")
        await handle.cancel()
        assert [await place.seen.canceled.get() for _ in range(2)] == ["job/1", "job/1"]
        assert (await handle.describe()).state == "started"
        error = nexusrpc.OperationError("stopped", state=nexusrpc.OperationErrorState.CANCELED)
        await complete(place.app, token="job/1", error=error)
        with pytest.raises(AttestedOperationError, match="stopped"):
            await handle.result()


async def test_cancel_is_delivered_when_it_came_before_the_handler_returned_its_token(place: Place) -> None:
    """What was asked for while the handler still ran is not forgotten."""
    place.seen.may_return.clear()
    handle = await place.start("job/1")
    async with place.worker():
        await place.seen.started.get()
        place.seen.may_return.set()
        await place.until(handle, "started")
        await handle.cancel()
        assert await place.seen.canceled.get() == "job/1"


async def test_nothing_happens_when_an_ended_operation_is_canceled(place: Place) -> None:
    """The outcome stands, and no handler hears of it."""
    async with place.worker():
        handle = await place.start("job/1")
        await place.until(handle, "started")
        await complete(place.app, token="job/1", result="done")
        await handle.cancel()
        assert await place.data.get_operation_handle(handle.operation_id, result_type=str).result() == "done"
        assert place.seen.canceled.empty()
