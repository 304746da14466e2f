"""From the start of an operation to its task at a worker: commits, backlog, redelivery, retries."""

import asyncio
from collections.abc import Callable

import grpc
import pytest
from tests.integration.operation_calls import described, execute, make_round_trip, start
from tests.integration.operation_gateway import RunningGateway, Worker, running_gateway
from tests.integration.sealed_messages import (
    CALLER,
    HANDLER,
    TASK_QUEUE,
    outcome,
    queue_key,
    ref,
    request,
    request_header,
    retryable,
    sealed,
)

from isthmus.endpoints.endpoint import RetrySettings
from isthmus.gateway.ports import Store
from isthmus.v1 import operation_pb2, worker_service_pb2
from isthmus.wire.header import Direction


async def test_start_commits_once_when_worker_waits(operation_gateway: RunningGateway) -> None:
    """A start that finds a credit is committed already leased: one commit, then the task."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    caller = operation_gateway.client(CALLER)
    # The pump looks for older tasks once before new ones go out directly.
    served = operation_gateway.assembly.dispatcher._served[queue_key()]
    while served.queue.backlog:
        await make_round_trip(caller)
    operation_gateway.commits.clear()
    envelope = request()
    status = await start(caller, envelope)
    task = await worker.tasks.get()
    assert status.state == operation_pb2.OPERATION_STATE_DISPATCHED
    assert len(operation_gateway.commits) == 1
    assert (task.request, task.attempt, task.caller_namespace) == (envelope, 1, CALLER)
    assert task.kind == worker_service_pb2.TASK_KIND_START


async def test_execute_returns_attested_result_when_handler_answers(
    operation_gateway: RunningGateway,
) -> None:
    """One round trip: the caller gets the sealed bytes that the handler's namespace signed."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    executing = asyncio.create_task(execute(operation_gateway.client(CALLER), request()))
    answer = outcome(await worker.tasks.get())
    ack = await worker.answer(answer)
    status = await executing
    assert ack.error == b""
    assert status.state == operation_pb2.OPERATION_STATE_SUCCEEDED
    assert status.ending.attested == answer.envelope
    assert not status.attached
    assert len(operation_gateway.assembly.waiters) == 0


async def test_tasks_go_out_in_order_when_worker_comes_late(operation_gateway: RunningGateway) -> None:
    """What was started before anybody polled waits in the store, oldest first."""
    caller = operation_gateway.client(CALLER)
    envelopes = [request() for _ in range(3)]
    for envelope in envelopes:
        assert (await start(caller, envelope)).state == operation_pb2.OPERATION_STATE_SCHEDULED
        operation_gateway.advance(milliseconds=1)
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=2)
    assert [(await worker.tasks.get()).request for _ in range(2)] == envelopes[:2]
    await worker.send(grant=1)
    assert (await worker.tasks.get()).request == envelopes[2]


async def test_tasks_are_shared_when_two_workers_poll(operation_gateway: RunningGateway) -> None:
    """Sessions are served in turn."""
    first = await Worker(operation_gateway.client(HANDLER), b"1" * 16).hello(grant=2)
    second = await Worker(operation_gateway.client(HANDLER), b"2" * 16).hello(grant=2)
    caller = operation_gateway.client(CALLER)
    for _ in range(4):
        await start(caller, request())
    for worker in (first, second):
        await worker.tasks.get()
        await worker.tasks.get()


async def test_held_task_is_delivered_again_when_session_reconnects(
    operation_gateway: RunningGateway,
) -> None:
    """A broken stream does not lose the lease; the task may never have arrived, so it is sent again."""
    broken = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    await start(operation_gateway.client(CALLER), request())
    task = await broken.tasks.get()
    await broken.disconnect()
    again = await Worker(operation_gateway.client(HANDLER)).hello()
    assert await again.tasks.get() == task
    assert (await again.answer(outcome(task))).error == b""


async def test_task_goes_to_another_worker_when_session_is_lost(
    operation_gateway: RunningGateway,
) -> None:
    """Nothing heard for the length of a lease: the attempt ends, and the next one goes elsewhere."""
    lost = await Worker(operation_gateway.client(HANDLER), b"1" * 16).hello(grant=1)
    await start(operation_gateway.client(CALLER), request())
    task = await lost.tasks.get()
    await lost.disconnect()
    operation_gateway.advance(seconds=29)
    assert not await operation_gateway.lost_sessions.step()
    other = await Worker(operation_gateway.client(HANDLER), b"2" * 16).hello(grant=1)
    assert other.tasks.empty()
    operation_gateway.advance(seconds=1)
    await operation_gateway.lost_sessions.step()
    operation_gateway.advance(seconds=1)
    redelivered = await other.tasks.get()
    assert redelivered.request == task.request
    assert redelivered.attempt == 2


async def test_session_lives_when_frames_arrive(operation_gateway: RunningGateway) -> None:
    """Empty frames renew the session, durably."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    envelope = request()
    await start(operation_gateway.client(CALLER), envelope)
    task = await worker.tasks.get()
    for _ in range(4):
        operation_gateway.advance(seconds=20)
        await worker.send(grant=1)
        # An answered frame says that the one before it was taken in.
        await worker.answer(worker_service_pb2.TaskOutcome(task=ref(task)))
        await operation_gateway.lost_sessions.step()
    shown = await described(operation_gateway.client(CALLER), task.operation_id)
    assert shown.state == operation_pb2.OPERATION_STATE_DISPATCHED
    assert shown.attempt == 1


async def test_attempt_is_repeated_later_when_it_failed_retryably(
    operation_gateway: RunningGateway,
) -> None:
    """Backoff: not before its time, and then without anybody asking."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=2)
    caller = operation_gateway.client(CALLER)
    await start(caller, request())
    task = await worker.tasks.get()
    assert (await worker.answer(retryable(task))).error == b""
    shown = await described(caller, task.operation_id)
    assert shown.waiting == operation_pb2.WAITING_CAUSE_BACKOFF
    assert "UNAVAILABLE" in shown.waiting_reason
    operation_gateway.advance(milliseconds=999)
    await described(caller, task.operation_id)
    assert worker.tasks.empty()
    operation_gateway.advance(milliseconds=1)
    again = await worker.tasks.get()
    assert again.attempt == 2
    assert (await worker.answer(retryable(task))).error != b"", "the first attempt is over"


async def test_last_failure_is_the_outcome_when_attempts_are_exhausted(
    operation_gateway: RunningGateway,
) -> None:
    """An endpoint that does not park ends the operation with the failure that the handler sealed."""
    await operation_gateway.put_endpoint(retry=RetrySettings(max_attempts=1, park_when_exhausted=False))
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    executing = asyncio.create_task(execute(operation_gateway.client(CALLER), request()))
    failure = retryable(await worker.tasks.get())
    await worker.answer(failure)
    status = await executing
    assert status.state == operation_pb2.OPERATION_STATE_FAILED
    assert status.ending.attested == failure.retry.envelope


async def test_retry_is_refused_when_its_failure_answers_another_request(
    operation_gateway: RunningGateway,
) -> None:
    """A failure that may become the outcome is checked like one."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    await start(operation_gateway.client(CALLER), request())
    task = await worker.tasks.get()
    wrong = retryable(task)
    foreign = worker_service_pb2.Task(request=request())
    wrong.retry.envelope = retryable(foreign).retry.envelope
    assert b"HEADER_MISMATCH" in (await worker.answer(wrong)).error


async def test_task_waits_for_next_worker_when_returned(operation_gateway: RunningGateway) -> None:
    """A worker that shuts down gives a task back; it does not count as an attempt spent."""
    first = await Worker(operation_gateway.client(HANDLER), b"1" * 16).hello(grant=1)
    await start(operation_gateway.client(CALLER), request())
    task = await first.tasks.get()
    returned = worker_service_pb2.TaskOutcome(task=ref(task), returned=worker_service_pb2.TaskReturned())
    assert (await first.answer(returned)).error == b""
    second = await Worker(operation_gateway.client(HANDLER), b"2" * 16).hello(grant=1)
    assert (await second.tasks.get()).request == task.request


async def test_waiting_cause_names_missing_worker_when_nobody_polls(
    operation_gateway: RunningGateway,
) -> None:
    """Never stuck in silence."""
    caller = operation_gateway.client(CALLER)
    header = request_header()
    await start(caller, sealed(header))
    shown = await described(caller, header.operation_id)
    assert shown.waiting == operation_pb2.WAITING_CAUSE_NO_POLLER
    assert TASK_QUEUE in shown.waiting_reason
    worker = await Worker(operation_gateway.client(HANDLER)).hello()
    shown = await described(caller, header.operation_id)
    assert shown.waiting == operation_pb2.WAITING_CAUSE_FAIR_SHARE
    await worker.send(grant=1)
    await worker.tasks.get()
    shown = await described(caller, header.operation_id)
    assert shown.waiting == operation_pb2.WAITING_CAUSE_RUNNING


async def test_operations_survive_when_gateway_restarts(new_store: Callable[[], Store]) -> None:
    """The store is the only truth: a gateway that comes back delivers what its predecessor held."""
    header = request_header()
    async with running_gateway(new_store()) as gateway:
        worker = await Worker(gateway.client(HANDLER)).hello(grant=1)
        await start(gateway.client(CALLER), sealed(header))
        task = await worker.tasks.get()
        issuer, clock = gateway.issuer, gateway.clock
    async with running_gateway(new_store(), issuer=issuer, clock=clock) as gateway:
        worker = await Worker(gateway.client(HANDLER)).hello()
        assert await worker.tasks.get() == task
        await worker.answer(outcome(task, Direction.RESULT))
        shown = await described(gateway.client(CALLER), header.operation_id)
        assert shown.state == operation_pb2.OPERATION_STATE_SUCCEEDED


async def test_session_is_refused_when_another_principal_took_its_id(
    operation_gateway: RunningGateway,
) -> None:
    """A session id is no credential."""
    await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await Worker(operation_gateway.client("stranger")).hello(grant=1)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
