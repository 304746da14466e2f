"""Streams that say nothing, garbage, too much or the same twice: each ends clearly, the gateway goes on."""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from google.rpc import status_pb2
from tests.acceptance.deployment.two_teams import ENDPOINT, TASK_QUEUE
from tests.adversarial.victim import CALL_SECONDS, MIB, Echo, Victim
from tests.integration.registry_gateway import reason_of

from isthmus.v1 import operation_service_pb2 as operations
from isthmus.v1 import worker_service_pb2 as workers
from isthmus.wire.names import parse_operation_id

SESSION = "/isthmus.v1.OperationService/Session"
WORK = "/isthmus.v1.WorkerService/Work"
EMPTY_CALL = b"\x0a\x00"
EMPTY_OUTCOME = b"\x1a\x00"
Stream = grpc.aio.StreamStreamCall[bytes, bytes]


def hello(**changes: object) -> workers.WorkerHello:
    """Return a good hello with changes."""
    good: dict[str, object] = {"session_id": os.urandom(16), "task_queue": TASK_QUEUE, "identity": "hostile"}
    return workers.WorkerHello(**{**good, **changes})  # type: ignore[arg-type]


@asynccontextmanager
async def opened(victim: Victim, method: str) -> AsyncGenerator[Stream]:
    """Open a stream that carries raw bytes, as the team that may."""
    async with victim.channel() as channel:
        metadata = victim.handler if method == WORK else victim.caller
        make: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
        stream = make(metadata=metadata, timeout=CALL_SECONDS)
        yield stream
        stream.cancel()


async def ended(stream: Stream) -> grpc.aio.AioRpcError:
    """Read a stream to its end, which has to be a refusal."""
    try:
        while await stream.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error
    pytest.fail("the stream ended well")


async def message(stream: Stream) -> bytes:
    """Read one message."""
    read = await stream.read()
    assert isinstance(read, bytes)
    return read


async def replies(stream: Stream, count: int) -> list[operations.SessionReply]:
    """Read answers of a session."""
    found: list[operations.SessionReply] = []
    while len(found) < count:
        found.extend(operations.SessionResponse.FromString(await message(stream)).replies)
    return found


async def acks(stream: Stream, count: int) -> list[workers.OutcomeAck]:
    """Read acknowledgements of a worker."""
    found: list[workers.OutcomeAck] = []
    while len(found) < count:
        found.extend(workers.WorkResponse.FromString(await message(stream)).acks)
    return found


def codes(errors: Sequence[bytes]) -> set[int]:
    """Return the status codes of serialized statuses."""
    return {status_pb2.Status.FromString(error).code for error in errors}


GARBAGE_HELLOS = {
    "none": workers.WorkRequest(),
    "outcomes_only": workers.WorkRequest(outcomes=[workers.TaskOutcome()]),
    "credits_only": workers.WorkRequest(credits=2**32 - 1),
    "empty": workers.WorkRequest(hello=workers.WorkerHello()),
    "short_session": workers.WorkRequest(hello=hello(session_id=b"s" * 15)),
    "long_session": workers.WorkRequest(hello=hello(session_id=bytes(MIB))),
    "no_queue": workers.WorkRequest(hello=hello(task_queue="")),
    "path_queue": workers.WorkRequest(hello=hello(task_queue="../app-queue")),
    "other_queue": workers.WorkRequest(hello=hello(task_queue="data-team/q\x00")),
    "long_queue": workers.WorkRequest(hello=hello(task_queue="q" * MIB)),
    "long_identity": workers.WorkRequest(hello=hello(identity="i" * MIB)),
    "forged_log_line": workers.WorkRequest(hello=hello(identity="worker\nlevel=info")),
    "bidi_version": workers.WorkRequest(hello=hello(version="\u202e1")),
}


@pytest.mark.parametrize("frame", GARBAGE_HELLOS.values(), ids=GARBAGE_HELLOS.keys())
async def test_work_stream_is_refused_when_its_hello_is_garbage(
    victim: Victim, frame: workers.WorkRequest
) -> None:
    """A worker that does not say properly who it is gets INVALID_ARGUMENT and no task."""
    async with opened(victim, WORK) as stream:
        await stream.write(frame.SerializeToString())
        error = await ended(stream)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert victim.incidents() == []


async def test_work_stream_is_refused_when_it_ends_before_hello(victim: Victim) -> None:
    """A stream that closes without a word is told what it should have said."""
    async with victim.survives(), opened(victim, WORK) as stream:
        await stream.done_writing()
        assert reason_of(await ended(stream)) == "NO_HELLO"


async def test_second_hello_is_ignored_when_it_names_another_queue(victim: Victim) -> None:
    """A session stays what its first hello said: it gets nothing of a queue that a later one names."""
    async with victim.survives():
        async with opened(victim, WORK) as stream:
            first = workers.WorkRequest(hello=hello(task_queue="elsewhere"), credits=1)
            await stream.write(first.SerializeToString())
            await stream.write(workers.WorkRequest(hello=hello(), credits=1).SerializeToString())
            await stream.done_writing()
            frames = [workers.WorkResponse.FromString(frame) async for frame in stream]
        assert [len(frame.tasks) for frame in frames] == [0]


@pytest.mark.parametrize("credit", [2**31, 2**32 - 1])
async def test_credits_are_bounded_when_a_worker_grants_billions(victim: Victim, credit: int) -> None:
    """A worker can promise what it likes; the tasks that it gets come back when it leaves."""
    async with victim.survives(), opened(victim, WORK) as stream:
        frame = workers.WorkRequest(hello=hello(), credits=credit)
        await stream.write(frame.SerializeToString())
        for _ in range(10):
            await stream.write(workers.WorkRequest(credits=credit).SerializeToString())
        first = workers.WorkResponse.FromString(await message(stream))
        assert first.lease_ms > 0
        # Draining, it gives back what it has not answered.
        tasks = list(first.tasks) or list(workers.WorkResponse.FromString(await message(stream)).tasks)
        given_back = [
            workers.TaskOutcome(
                task=workers.TaskRef(
                    caller_namespace=task.caller_namespace,
                    operation_id=task.operation_id,
                    attempt=task.attempt,
                    kind=task.kind,
                ),
                returned=workers.TaskReturned(),
            )
            for task in tasks
        ]
        await stream.write(workers.WorkRequest(outcomes=given_back, draining=True).SerializeToString())
        assert [ack.error for ack in await acks(stream, len(tasks))] == [b""] * len(tasks)


async def test_outcomes_are_refused_one_by_one_when_their_tasks_are_unknown(victim: Victim) -> None:
    """Each of a thousand made-up outcomes gets an acknowledgement that says no."""
    ref = workers.TaskRef(caller_namespace="data-team", attempt=1, kind=workers.TASK_KIND_START)
    unknown = [
        workers.TaskOutcome(task=ref, rejection=workers.Rejection(code="E2E_REJECTED")),
        workers.TaskOutcome(task=ref, returned=workers.TaskReturned()),
        workers.TaskOutcome(task=ref, cancel_delivered=workers.CancelDelivered()),
        workers.TaskOutcome(task=ref, envelope=b"no envelope"),
        workers.TaskOutcome(task=ref, retry=workers.RetryableFailure(error_type="INTERNAL")),
        workers.TaskOutcome(task=ref),
    ] * 170
    for outcome in unknown:
        outcome.task.operation_id = os.urandom(16)
    async with victim.survives(), opened(victim, WORK) as stream:
        frame = workers.WorkRequest(hello=hello(task_queue="elsewhere"), outcomes=unknown)
        await stream.write(frame.SerializeToString())
        refused = await acks(stream, len(unknown))
    found = codes([ack.error for ack in refused])
    assert found == {grpc.StatusCode.NOT_FOUND.value[0], grpc.StatusCode.INVALID_ARGUMENT.value[0]}


@pytest.mark.parametrize(
    ("method", "first", "flood"),
    [
        (SESSION, b"", EMPTY_CALL * 1_000_000),
        (WORK, workers.WorkRequest(hello=hello()).SerializeToString(), EMPTY_OUTCOME * 1_000_000),
    ],
    ids=["calls", "outcomes"],
)
async def test_stream_is_refused_when_a_frame_has_a_million_entries(
    victim: Victim, method: str, first: bytes, flood: bytes
) -> None:
    """Two megabytes of nothing neither stop the event loop nor fill the memory, and the client is told."""
    async with victim.survives(), opened(victim, method) as stream:
        await stream.write(first)
        await stream.write(flood)
        error = await asyncio.wait_for(ended(stream), 10)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) == "FRAME_TOO_LARGE"


async def test_stream_gets_its_status_when_it_fails_with_its_first_answer_under_way(victim: Victim) -> None:
    """The refusal arrives although the answer to the hello is still being written: nobody waits forever."""
    async with victim.survives():
        for _ in range(100):  # a race that was lost once in fifty times
            async with opened(victim, WORK) as stream:
                await stream.write(workers.WorkRequest(hello=hello()).SerializeToString())
                await stream.write(EMPTY_OUTCOME * 8000)
                await stream.done_writing()
                assert reason_of(await asyncio.wait_for(ended(stream), 5)) == "FRAME_TOO_LARGE"


async def test_each_call_is_refused_when_a_frame_has_thousands_of_bad_ones(victim: Victim) -> None:
    """Every call gets its own answer, with its own id, however many share a frame."""
    bad = [operations.SessionCall(call_id=number) for number in range(8000)]
    async with victim.survives(), opened(victim, SESSION) as stream:
        await stream.write(operations.SessionRequest(calls=bad).SerializeToString())
        answered = await replies(stream, len(bad))
    assert sorted(reply.call_id for reply in answered) == list(range(8000))
    assert codes([reply.error for reply in answered]) == {grpc.StatusCode.INVALID_ARGUMENT.value[0]}


@asynccontextmanager
async def one_operation(victim: Victim) -> AsyncGenerator[bytes]:
    """Start an operation that nobody serves yet; return its id."""
    async with victim.client(victim.deployment.caller) as client:
        echo = client.create_nexus_client(ENDPOINT, Echo)
        handle = await echo.start_operation(Echo.say, "waits")
        yield parse_operation_id(handle.operation_id)
        await handle.cancel()


async def test_second_call_is_refused_when_its_id_is_open(victim: Victim) -> None:
    """Of two calls with one id only the first is made; the id is free again once it is answered."""
    async with victim.survives(), one_operation(victim) as operation_id, opened(victim, SESSION) as stream:
        long_wait = operations.WaitOperationRequest(operation_id=operation_id, wait_ms=60_000)
        look = operations.WaitOperationRequest(operation_id=operation_id)
        calls = [
            operations.SessionCall(call_id=7, wait=long_wait),
            operations.SessionCall(call_id=7, wait=look),
            operations.SessionCall(call_id=7, abandon=operations.Abandon()),
            operations.SessionCall(call_id=7, wait=look),
        ]
        await stream.write(operations.SessionRequest(calls=calls).SerializeToString())
        refused, answered = await replies(stream, 2)
    assert codes([refused.error]) == {grpc.StatusCode.INVALID_ARGUMENT.value[0]}
    assert answered.wait.status.operation_id == operation_id


async def test_calls_are_refused_when_too_many_are_open(victim: Victim) -> None:
    """A session with twenty thousand waits has the first 8192; the others are told to come again."""
    async with victim.survives(), one_operation(victim) as operation_id, opened(victim, SESSION) as stream:
        wait = operations.WaitOperationRequest(operation_id=operation_id, wait_ms=60_000)
        for start in range(0, 20_000, 4000):
            calls = [operations.SessionCall(call_id=start + n, wait=wait) for n in range(4000)]
            await stream.write(operations.SessionRequest(calls=calls).SerializeToString())
        refused = await replies(stream, 20_000 - 8192)
    assert codes([reply.error for reply in refused]) == {grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]}


async def test_calls_are_answered_when_the_client_closes_its_half(victim: Victim) -> None:
    """What was asked before the half close is answered; then the stream ends."""
    async with victim.survives(), opened(victim, SESSION) as stream:
        get = operations.GetOperationRequest(operation_id=os.urandom(16))
        calls = [operations.SessionCall(call_id=number, get=get) for number in range(100)]
        await stream.write(operations.SessionRequest(calls=calls).SerializeToString())
        await stream.done_writing()
        answered = await replies(stream, 100)
        assert await stream.read() is grpc.aio.EOF
    assert codes([reply.error for reply in answered]) == {grpc.StatusCode.NOT_FOUND.value[0]}


async def test_gateway_goes_on_when_streams_are_opened_and_dropped(victim: Victim) -> None:
    """Hundreds of streams that say nothing, half a word, or leave at once, cost nothing that stays."""
    before = victim.open_files()
    async with victim.survives(), victim.channel() as channel:
        for number in range(300):
            method, metadata = (SESSION, victim.caller) if number % 2 else (WORK, victim.handler)
            make: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
            stream = make(metadata=metadata, timeout=CALL_SECONDS)
            if number % 3:
                await stream.write(
                    b"" if number % 2 else workers.WorkRequest(hello=hello()).SerializeToString()
                )
            stream.cancel()
    assert victim.open_files() <= before + 20
