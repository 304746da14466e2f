"""What running tasks report: recorded durably, for the attempt that runs, and handed to the next one."""

import grpc
import pytest
from tests.integration.operation_calls import described, reason_in, start
from tests.integration.operation_gateway import RunningGateway, Worker
from tests.integration.sealed_messages import (
    CALLER,
    HANDLER,
    TASK_QUEUE,
    answer_to,
    outcome,
    ref,
    request,
    retryable,
    sealed,
)

from isthmus.gateway.dispatch.report_rates import REPORTS_PER_SECOND
from isthmus.v1 import operation_pb2, worker_service_pb2
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.header import Direction


def heartbeat(task: worker_service_pb2.Task, details: bytes = b"") -> worker_service_pb2.TaskReport:
    """Return the heartbeat of a task."""
    beat = worker_service_pb2.Heartbeat(details=details)
    return worker_service_pb2.TaskReport(task=ref(task), heartbeat=beat)


def details_of(task: worker_service_pb2.Task, **changes: object) -> bytes:
    """Return sealed details of a task."""
    return answer_to(task.request, Direction.DETAILS, **changes)


async def running(gateway: RunningGateway) -> tuple[Worker, worker_service_pb2.Task]:
    """Start an operation at a worker that has room for its retry."""
    worker = await Worker(gateway.client(HANDLER)).hello(grant=2)
    await start(gateway.client(CALLER), request())
    return worker, await worker.tasks.get()


async def test_next_attempt_gets_the_last_details_when_one_fails(operation_gateway: RunningGateway) -> None:
    """The latest win; a heartbeat without details leaves them; the first attempt has none."""
    worker, task = await running(operation_gateway)
    assert task.details == b""
    last = details_of(task)
    for details in (details_of(task), last, b""):
        assert (await worker.report(heartbeat(task, details))).error == b""
    await worker.answer(retryable(task))
    operation_gateway.advance(seconds=1)
    again = await worker.tasks.get()
    assert (again.attempt, again.details) == (2, last)


async def test_next_attempt_gets_the_details_when_they_share_a_frame_with_the_failure(
    operation_gateway: RunningGateway,
) -> None:
    """Reports are recorded before outcomes."""
    worker, task = await running(operation_gateway)
    last = details_of(task)
    await worker.send(retryable(task), reports=[heartbeat(task, last)])
    assert (await worker.report_acks.get()).error == b""
    operation_gateway.advance(seconds=1)
    assert (await worker.tasks.get()).details == last


async def test_next_attempt_gets_the_details_when_a_worker_is_lost(operation_gateway: RunningGateway) -> None:
    """Nothing but the store has to survive."""
    worker, task = await running(operation_gateway)
    last = details_of(task)
    await worker.report(heartbeat(task, last))
    await worker.disconnect()
    operation_gateway.advance(seconds=31)
    await operation_gateway.lost_sessions.step()
    operation_gateway.advance(seconds=1)
    other = await Worker(operation_gateway.client(HANDLER), b"2" * 16).hello(grant=1)
    again = await other.tasks.get()
    assert (again.attempt, again.details) == (2, last)


async def test_task_comes_with_its_details_when_it_is_delivered_again(
    operation_gateway: RunningGateway,
) -> None:
    """A delivery that never arrived is repeated as it was."""
    worker, task = await running(operation_gateway)
    last = details_of(task)
    await worker.report(heartbeat(task, last))
    await worker.disconnect()
    back = await Worker(operation_gateway.client(HANDLER)).hello()
    assert (await back.tasks.get()).details == last


async def test_last_heartbeat_is_shown_when_a_handler_sends_some(operation_gateway: RunningGateway) -> None:
    """To both sides, as data and in the sentence; and no clock moves."""
    worker, task = await running(operation_gateway)
    handler = operation_gateway.client(HANDLER)
    before = await described(handler, task.operation_id)
    assert not before.HasField("last_heartbeat_at")
    operation_gateway.advance(seconds=7)
    assert (await worker.report(heartbeat(task))).error == b""
    for client in (handler, operation_gateway.client(CALLER)):
        found = await described(client, task.operation_id)
        assert found.last_heartbeat_at.ToDatetime() - found.waiting_since.ToDatetime() == (
            operation_gateway.clock.now().replace(tzinfo=None) - before.waiting_since.ToDatetime()
        )
        assert "last heartbeat" in found.waiting_reason
        assert found.waiting_until == before.waiting_until


async def test_report_is_refused_when_its_attempt_is_over(operation_gateway: RunningGateway) -> None:
    """Whoever reports late learns that the task is somebody else's, and changes nothing."""
    worker, task = await running(operation_gateway)
    await worker.answer(retryable(task))
    late = await worker.report(heartbeat(task, details_of(task)))
    assert reason_in(late.error) == "ATTEMPT_OVER"
    operation_gateway.advance(seconds=1)
    again = await worker.tasks.get()
    assert again.details == b""
    await worker.answer(outcome(again))
    ended = await worker.report(heartbeat(again))
    assert reason_in(ended.error) == "ATTEMPT_OVER"


async def test_report_is_refused_when_another_namespace_sends_it(operation_gateway: RunningGateway) -> None:
    """To a stranger the operation does not exist; nor to its caller, who does not handle it."""
    _, task = await running(operation_gateway)
    for name in ("stranger", CALLER):
        other = await Worker(operation_gateway.client(name), name.encode().ljust(16)).hello()
        refused = await other.report(heartbeat(task))
        assert reason_in(refused.error) == "OPERATION_NOT_FOUND"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"principal": "billing/other"}, "HEADER_MISMATCH"),
        ({"operation_id": b"x" * 16}, "HEADER_MISMATCH"),
        ({"request_digest": b"x" * 32}, "HEADER_MISMATCH"),
        ({"endpoint": "elsewhere"}, "HEADER_MISMATCH"),
    ],
)
@pytest.mark.parametrize("store_kind", ["sqlite"])
async def test_details_are_refused_when_their_header_does_not_match(
    operation_gateway: RunningGateway, changes: dict[str, object], reason: str
) -> None:
    """The gateway stores nothing that the next attempt would have to reject."""
    worker, task = await running(operation_gateway)
    refused = await worker.report(heartbeat(task, details_of(task, **changes)))
    assert reason_in(refused.error) == reason
    assert not (await described(operation_gateway.client(HANDLER), task.operation_id)).HasField(
        "last_heartbeat_at"
    )


async def test_details_are_refused_when_they_are_for_the_caller(operation_gateway: RunningGateway) -> None:
    """Only what the handler's namespace sealed to itself is kept for it."""
    worker, task = await running(operation_gateway)
    refused = await worker.report(heartbeat(task, answer_to(task.request, Direction.RESULT)))
    assert reason_in(refused.error) == "WRONG_DIRECTION"


async def test_details_are_refused_when_they_are_large(operation_gateway: RunningGateway) -> None:
    """They travel beside requests, and are written again and again."""
    worker, task = await running(operation_gateway)
    header = parse_envelope(details_of(task)).header
    refused = await worker.report(heartbeat(task, sealed(header, b"x" * (64 * 1024 + 1))))
    assert reason_in(refused.error) == "PAYLOAD_TOO_LARGE"


async def test_report_is_refused_when_it_says_nothing(operation_gateway: RunningGateway) -> None:
    """Neither an empty report nor one of a task that runs no handler."""
    worker, task = await running(operation_gateway)
    empty = worker_service_pb2.TaskReport(task=ref(task))
    assert reason_in((await worker.report(empty)).error) == "UNKNOWN_REPORT"
    of_cancel = heartbeat(task)
    of_cancel.task.kind = worker_service_pb2.TASK_KIND_CANCEL
    assert reason_in((await worker.report(of_cancel)).error) == "UNKNOWN_REPORT"


async def test_report_is_refused_when_there_are_too_many(operation_gateway: RunningGateway) -> None:
    """Each task has a rate; the refusal says when to come back, and the outcome is not affected."""
    worker, task = await running(operation_gateway)
    for _ in range(REPORTS_PER_SECOND):
        assert (await worker.report(heartbeat(task))).error == b""
    assert reason_in((await worker.report(heartbeat(task))).error) == "REPORTING_TOO_FAST"
    assert (await worker.answer(outcome(task))).error == b""


async def test_reports_are_recorded_when_a_worker_has_no_stream(operation_gateway: RunningGateway) -> None:
    """The unary twin takes reports with outcomes, reports first."""
    client = operation_gateway.client(HANDLER)
    hello = worker_service_pb2.WorkerHello(session_id=b"u" * 16, task_queue=TASK_QUEUE)
    await start(operation_gateway.client(CALLER), request())

    async def poll() -> worker_service_pb2.Task:
        asked = worker_service_pb2.PollTasksRequest(worker=hello, max_tasks=1, wait_ms=10_000)
        return (await client.workers.PollTasks(asked, metadata=client.metadata)).tasks[0]

    task = await poll()
    last = details_of(task)
    answer = await client.workers.RespondTasks(
        worker_service_pb2.RespondTasksRequest(
            worker=hello, reports=[heartbeat(task, last)], outcomes=[retryable(task)]
        ),
        metadata=client.metadata,
    )
    assert [ack.error for ack in answer.report_acks] == [b""]
    assert [ack.error for ack in answer.acks] == [b""]
    operation_gateway.advance(seconds=1)
    assert (await poll()).details == last
    too_many = worker_service_pb2.RespondTasksRequest(worker=hello, reports=[heartbeat(task)] * 1025)
    with pytest.raises(grpc.aio.AioRpcError):
        await client.workers.RespondTasks(too_many, metadata=client.metadata)


async def test_nothing_is_audited_when_a_task_reports(operation_gateway: RunningGateway) -> None:
    """A report is no step of the operation's life, and there may be very many."""
    worker, task = await running(operation_gateway)
    before = await operation_gateway.store.read(lambda reader: reader.last_audit_position())
    await worker.report(heartbeat(task, details_of(task)))
    assert await operation_gateway.store.read(lambda reader: reader.last_audit_position()) == before
    found = await described(operation_gateway.client(HANDLER), task.operation_id)
    assert found.state == operation_pb2.OPERATION_STATE_DISPATCHED
