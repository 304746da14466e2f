"""Workers state what they run; the gateway interrupts what is not theirs any more."""

import asyncio
from collections.abc import AsyncIterator

from tests.integration.operation_calls import cancel, start
from tests.integration.operation_gateway import RunningGateway, worker_hello
from tests.integration.sealed_messages import (
    CALLER,
    HANDLER,
    cancel_of,
    outcome,
    ref,
    request,
)

from isthmus.v1 import worker_service_pb2 as pb
from isthmus.wire.header import Direction

HELLO = worker_hello(b"p" * 16)


async def leased(gateway: RunningGateway, count: int) -> list[pb.Task]:
    """Start operations, and lease their tasks."""
    caller, handler = gateway.client(CALLER), gateway.client(HANDLER)
    for _ in range(count):
        await start(caller, request())
    answer = await handler.workers.PollTasks(
        pb.PollTasksRequest(worker=HELLO, max_tasks=count, wait_ms=30_000),
        metadata=handler.metadata,
    )
    return list(answer.tasks)


def numbered(task: pb.Task, attempt: int) -> pb.TaskRef:
    """Return another attempt of a task."""
    other = ref(task)
    other.attempt = attempt
    return other


def shown(interrupts: "list[pb.TaskInterrupt]") -> dict[tuple[bytes, int], bytes]:
    """Return what is interrupted, with the cancels."""
    return {(found.task.operation_id, found.task.attempt): found.cancel for found in interrupts}


async def prepared(gateway: RunningGateway) -> tuple[list[pb.TaskRef], dict[tuple[bytes, int], bytes]]:
    """Return what a worker may state, and what it has to hear of it."""
    caller, handler = gateway.client(CALLER), gateway.client(HANDLER)
    held, ended, canceled, replaced = await leased(gateway, 4)
    await handler.workers.RespondTasks(
        pb.RespondTasksRequest(worker=HELLO, outcomes=[outcome(ended, Direction.RESULT)]),
        metadata=handler.metadata,
    )
    envelope = cancel_of(canceled.request)
    await cancel(caller, envelope)
    # What is told at once is not what this is about.
    await handler.workers.RespondTasks(pb.RespondTasksRequest(worker=HELLO), metadata=handler.metadata)
    unknown = pb.TaskRef(caller_namespace=CALLER, operation_id=bytes(16), attempt=1, kind=pb.TASK_KIND_START)
    other_kind = pb.TaskRef(
        caller_namespace=CALLER, operation_id=bytes(16), attempt=1, kind=pb.TASK_KIND_CANCEL
    )
    stated = [ref(held), ref(ended), ref(canceled), numbered(replaced, 7), unknown, other_kind]
    expected = {
        (ended.operation_id, 1): b"",
        (canceled.operation_id, 1): envelope,
        (replaced.operation_id, 7): b"",
        (unknown.operation_id, 1): b"",
    }
    return stated, expected


async def test_poller_hears_what_is_not_its_own_any_more(operation_gateway: RunningGateway) -> None:
    """Ended, canceled, another attempt by now, unknown; and nothing of what it holds."""
    stated, expected = await prepared(operation_gateway)
    handler = operation_gateway.client(HANDLER)
    answer = await handler.workers.RespondTasks(
        pb.RespondTasksRequest(worker=HELLO, running=stated), metadata=handler.metadata
    )
    assert shown(list(answer.interrupts)) == expected


async def test_stream_hears_what_is_not_its_own_any_more(operation_gateway: RunningGateway) -> None:
    """In the first frame or a later one."""
    stated, expected = await prepared(operation_gateway)
    handler = operation_gateway.client(HANDLER)
    done = asyncio.Event()

    async def frames() -> AsyncIterator[pb.WorkRequest]:
        yield pb.WorkRequest(hello=HELLO, running=stated[:2])
        yield pb.WorkRequest()
        await halfway.wait()
        yield pb.WorkRequest(running=stated[2:])
        await done.wait()

    halfway = asyncio.Event()
    heard: dict[tuple[bytes, int], bytes] = {}
    async for frame in handler.workers.Work(frames(), metadata=handler.metadata):
        heard |= shown(list(frame.interrupts))
        if stated[1].operation_id in {operation_id for operation_id, _ in heard}:
            halfway.set()
        if len(heard) == len(expected):
            break
    done.set()
    assert heard == expected


async def test_others_are_not_told_whose_it_is(operation_gateway: RunningGateway) -> None:
    """A session that never had the task hears what it hears of an unknown one."""
    (task,) = await leased(operation_gateway, 1)
    handler = operation_gateway.client(HANDLER)
    answer = await handler.workers.RespondTasks(
        pb.RespondTasksRequest(worker=worker_hello(b"q" * 16), running=[ref(task)]), metadata=handler.metadata
    )
    assert shown(list(answer.interrupts)) == {(task.operation_id, 1): b""}
