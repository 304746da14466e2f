"""What a Work stream keeps for a worker that is slow to read."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from tests.contract.samples import session
from tests.integration.sealed_messages import CALLER, HANDLER, queue_key
from tests.unit.gateway.dispatch.test_dispatcher import World, world
from tests.unit.gateway.manual_time import START, FixedRandomness

from isthmus.gateway.api.running_tasks import RunningTasks
from isthmus.gateway.api.sealed_answers import SealedAnswers
from isthmus.gateway.api.signal_reads import SignalReads
from isthmus.gateway.api.task_outcomes import TaskOutcomes
from isthmus.gateway.api.task_reports import TaskReports
from isthmus.gateway.api.worker_stream import WorkerStream
from isthmus.gateway.authn.principal import Principal
from isthmus.gateway.commands.start_operation import StartOperation
from isthmus.gateway.core.operation import OperationKey, State
from isthmus.gateway.dispatch import live_session
from isthmus.gateway.dispatch.report_rates import ReportRates
from isthmus.gateway.dispatch.waiters import Waiters
from isthmus.v1 import worker_service_pb2
from isthmus.wire.names import NamespaceName

__all__ = ["world"]
TASKS = 6
# Neither outcomes nor reports are sent here.
NO_ANSWERS = cast("SealedAnswers", object())


class SlowReader:
    """The worker's end of a stream: takes a frame only when the test says so."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[worker_service_pb2.WorkResponse] = asyncio.Queue()
        self._takes = asyncio.Semaphore(0)

    async def write(self, frame: worker_service_pb2.WorkResponse) -> None:
        """Take a frame, later."""
        await self._takes.acquire()
        self.frames.put_nowait(frame)

    async def take(self) -> worker_service_pb2.WorkResponse:
        """Return the next frame."""
        self._takes.release()
        return await asyncio.wait_for(self.frames.get(), 10)

    async def say_nothing(self) -> AsyncIterator[worker_service_pb2.WorkRequest]:
        """Keep the stream open."""
        await asyncio.Event().wait()
        yield worker_service_pb2.WorkRequest()


async def states(world: World, starts: list[StartOperation]) -> list[State]:
    """Return the states of the operations."""
    keys = [OperationKey(caller=CALLER, operation_id=start.header.operation_id) for start in starts]
    found = await world.store.read(lambda reader: [reader.operation(key) for key in keys])
    return [operation.state for operation in found if operation is not None]


async def test_nothing_is_leased_when_a_worker_leaves_too_much_unread(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tasks fill it up here; the others stay in the store until it reads, and then they come."""
    starts = [world.start_of() for _ in range(TASKS)]
    monkeypatch.setattr(live_session, "MAX_UNSENT_BYTES", len(starts[0].envelope) * 3 // 2)
    principal = Principal(
        namespace=NamespaceName(HANDLER),
        subject="w",
        issuer="test",
        authenticated_at=START,
        expires_at=START,
    )
    opened = session(queue=queue_key(), principal="billing/w", expires_at=world.leases.expiry())
    stream = WorkerStream(
        principal,
        opened,
        dispatcher=world.dispatcher,
        leases=world.leases,
        outcomes=TaskOutcomes(
            store=world.store, clock=world.clock, randomness=FixedRandomness(), answers=NO_ANSWERS
        ),
        reports=TaskReports(store=world.store, clock=world.clock, answers=NO_ANSWERS, rates=ReportRates()),
        signal_reads=SignalReads(world.store, Waiters()),
        running=RunningTasks(world.store),
    )
    reader = SlowReader()
    hello = worker_service_pb2.WorkRequest(credits=TASKS)
    serving = asyncio.create_task(stream.serve(hello, reader.say_nothing(), reader.write))
    assert (await reader.take()).lease_ms
    while world.dispatcher._served[queue_key()].queue.backlog:
        await asyncio.wait({serving}, timeout=0.01)
    # The first frame leaves for the worker at once, two more tasks wait for it.
    for start in starts:
        await world.dispatcher.start(start)
    assert (await states(world, starts)).count(State.SCHEDULED) == TASKS - 3
    arrived = 0
    while arrived < TASKS:
        arrived += len((await reader.take()).tasks)
    assert set(await states(world, starts)) == {State.DISPATCHED}
    serving.cancel()
    await asyncio.wait({serving})
