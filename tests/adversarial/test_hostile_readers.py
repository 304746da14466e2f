"""Clients that ask for much and read nothing: what the gateway keeps for them is bounded."""

import asyncio
import os

import nexusrpc
import nexusrpc.handler
from tests.acceptance.deployment.two_teams import ENDPOINT, TASK_QUEUE
from tests.adversarial.test_hostile_streams import SESSION, WORK, Stream, hello, message, opened
from tests.adversarial.victim import MIB, Victim

from isthmus.v1 import operation_service_pb2 as operations
from isthmus.v1 import worker_service_pb2 as workers
from isthmus.wire.names import parse_operation_id
from isthmus.worker import Worker

ANSWER = "x" * (3 * MIB)


@nexusrpc.service
class Library:
    """Gives large answers."""

    book: nexusrpc.Operation[str, str]


@nexusrpc.handler.service_handler(service=Library)
class LibraryHandler:
    """Serves Library."""

    @nexusrpc.handler.sync_operation
    async def book(self, _context: nexusrpc.handler.StartOperationContext, _title: str) -> str:
        """Return a large text."""
        return ANSWER


async def large_operation(victim: Victim) -> bytes:
    """Run an operation with a large result; return its id."""
    async with (
        victim.client(victim.deployment.handler) as serving,
        victim.client(victim.deployment.caller) as calling,
        Worker(serving, task_queue=TASK_QUEUE, nexus_service_handlers=[LibraryHandler()]),
    ):
        library = calling.create_nexus_client(ENDPOINT, Library)
        handle = await library.start_operation(Library.book, "Moby-Dick")
        assert await handle.result() == ANSWER
        return parse_operation_id(handle.operation_id)


async def test_answers_are_bounded_when_a_session_does_not_read(victim: Victim) -> None:
    """Asking 500 times for 3 MiB without reading makes the gateway keep a few dozen answers, not 1.5 GB."""
    operation_id = await large_operation(victim)
    wait = operations.WaitOperationRequest(operation_id=operation_id)
    async with victim.survives(most_bytes=500 * MIB), opened(victim, SESSION) as stream:
        calls = [operations.SessionCall(call_id=number, wait=wait) for number in range(500)]
        await stream.write(operations.SessionRequest(calls=calls).SerializeToString())
        # Another stream of the same process is answered meanwhile, and after everything that came before.
        async with opened(victim, SESSION) as other:
            await other.write(operations.SessionRequest(calls=calls[:1]).SerializeToString())
            frame = operations.SessionResponse.FromString(await message(other))
        assert frame.replies[0].wait.status.operation_id == operation_id
        found = await read_replies(stream, 500)
    assert set(found) == {"wait", "error"}
    assert found.count("wait") >= 16


async def read_replies(stream: Stream, count: int) -> list[str]:
    """Return of what kind answers are, in the order in which they come."""
    kinds: list[str] = []
    while len(kinds) < count:
        frame = operations.SessionResponse.FromString(await message(stream))
        kinds.extend(str(reply.WhichOneof("reply")) for reply in frame.replies)
    return kinds


async def test_acknowledgements_are_bounded_when_a_worker_does_not_read(victim: Victim) -> None:
    """A gigabyte of outcomes, and no acknowledgement read: the gateway stops reading, too."""
    outcome = workers.TaskOutcome(
        task=workers.TaskRef(caller_namespace="x" * 2000, operation_id=os.urandom(16)),
        rejection=workers.Rejection(code="E2E_REJECTED"),
    )
    flood = workers.WorkRequest(outcomes=[outcome] * 2000).SerializeToString()
    async with victim.survives(most_bytes=120 * MIB), opened(victim, WORK) as stream:
        await stream.write(workers.WorkRequest(hello=hello(task_queue="elsewhere")).SerializeToString())
        stopped = False
        for _ in range(250):
            try:
                await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(stream.write(flood))), 3)
            except TimeoutError:
                stopped = True
                break
    assert stopped
