"""How a worker ends."""

import asyncio
from datetime import timedelta

import pytest
from tests.unit.worker.gateway import Gateway, start_task
from tests.unit.worker.parties import Caller, HandlerClient, MemoryKeyring, handler_client
from tests.unit.worker.services import Charge, PaymentsHandler

from isthmus.worker import Worker, WorkerError, run_sync

NOW = timedelta()


def make_worker(client: HandlerClient, handler: PaymentsHandler, grace: timedelta) -> Worker:
    """Make a worker with a grace."""
    return Worker(
        client,
        task_queue="payments",
        nexus_service_handlers=[handler],
        graceful_shutdown_timeout=grace,
    )


async def test_running_task_is_finished_when_the_worker_shuts_down(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """No further tasks are wanted, the running one ends, and its outcome is acknowledged before the end."""
    handler = PaymentsHandler()
    worker = make_worker(client, handler, timedelta(seconds=30))
    job = asyncio.create_task(worker.run())
    stream = await gateway.stream()
    stream.send(tasks=[start_task(caller.request("wait", Charge("o", 1)))])
    await handler.started.wait()
    await worker.shutdown()
    await stream.until("draining")
    handler.release.set()
    outcome = await stream.outcome(acknowledge=False)
    assert not job.done()
    stream.acknowledge(outcome)
    await job
    await stream.ended.wait()
    assert outcome.WhichOneof("outcome") == "envelope"


async def test_task_is_given_back_when_it_does_not_end_in_time(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """What still runs after the grace is interrupted and returned, unpunished."""
    handler = PaymentsHandler()
    worker = make_worker(client, handler, NOW)
    job = asyncio.create_task(worker.run())
    stream = await gateway.stream()
    stream.send(tasks=[start_task(caller.request("wait", Charge("o", 1)))])
    await handler.started.wait()
    await worker.shutdown()
    outcome = await stream.outcome()
    await job
    assert outcome.WhichOneof("outcome") == "returned"
    assert handler.stopped.is_set()


async def test_task_is_given_back_when_it_runs_in_a_thread_that_does_not_end(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """The thread is told; the worker does not wait for it."""
    handler = PaymentsHandler()
    worker = make_worker(client, handler, NOW)
    job = asyncio.create_task(worker.run())
    stream = await gateway.stream()
    stream.send(tasks=[start_task(caller.request("wait_in_thread", Charge("o", 1)))])
    await asyncio.to_thread(handler.thread_started.wait)
    await worker.shutdown()
    outcome = await stream.outcome()
    await job
    assert outcome.WhichOneof("outcome") == "returned"
    assert stream.no_outcome()


async def test_worker_stops_at_once_when_it_is_told_twice(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """The second shutdown ends the grace of the first."""
    handler = PaymentsHandler()
    worker = make_worker(client, handler, timedelta(hours=1))
    job = asyncio.create_task(worker.run())
    stream = await gateway.stream()
    stream.send(tasks=[start_task(caller.request("wait", Charge("o", 1)))])
    await handler.started.wait()
    await worker.shutdown()
    await stream.until("draining")
    assert not handler.stopped.is_set()
    await worker.shutdown()
    outcome = await stream.outcome()
    await job
    assert outcome.WhichOneof("outcome") == "returned"


async def test_task_is_given_back_when_it_arrives_during_shutdown(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """A task that crosses the announcement is returned without having run."""
    handler = PaymentsHandler()
    worker = make_worker(client, handler, timedelta(seconds=30))
    job = asyncio.create_task(worker.run())
    stream = await gateway.stream()
    stream.send(tasks=[start_task(caller.request("wait", Charge("o", 1)))])
    await handler.started.wait()
    await worker.shutdown()
    await stream.until("draining")
    late = caller.request("charge", Charge("o", 1))
    stream.send(tasks=[start_task(late)])
    outcome = await stream.outcome()
    handler.release.set()
    await stream.outcome()
    await job
    assert outcome.task.operation_id == late.header.operation_id
    assert outcome.WhichOneof("outcome") == "returned"
    assert handler.runs == 1


async def test_worker_serves_and_ends_when_it_is_a_context_manager(
    gateway: Gateway, client: HandlerClient, caller: Caller
) -> None:
    """The block begins when the gateway has answered and ends when the worker has."""

    async def play() -> bool:
        stream = await gateway.stream()
        stream.send(tasks=[start_task(caller.request("charge", Charge("o", 1)))])
        outcome = await stream.outcome()
        return outcome.HasField("envelope")

    playing = asyncio.create_task(play())
    async with make_worker(client, PaymentsHandler(), NOW):
        assert await playing


async def test_worker_refuses_when_it_runs_a_second_time(gateway: Gateway, client: HandlerClient) -> None:
    """Sessions are not reused."""
    worker = make_worker(client, PaymentsHandler(), NOW)
    await worker.shutdown()
    await worker.run()
    with pytest.raises(WorkerError, match="runs once"):
        await worker.run()


def test_worker_ends_at_once_when_it_was_shut_down_before_it_ran(
    handler_keyring: MemoryKeyring, caller: Caller
) -> None:
    """run_sync makes a loop, client and worker inside of it; nobody listens, and that delays nothing."""
    made: list[Worker] = []

    async def make() -> Worker:
        client = handler_client("127.0.0.1:1", handler_keyring, caller.keyring)
        worker = make_worker(client, PaymentsHandler(), timedelta(hours=1))
        await worker.shutdown()
        made.append(worker)
        return worker

    run_sync(make)
    assert len(made) == 1
