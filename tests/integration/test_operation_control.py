"""Redrive and terminate over the wire: who may, what follows, what is on record, what a repetition does."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.integration.operation_calls import cancel, described, refusal, start, wait
from tests.integration.operation_gateway import Client, RunningGateway, Worker
from tests.integration.sealed_messages import (
    CALLER,
    ENDPOINT,
    HANDLER,
    cancel_of,
    outcome,
    request_header,
    retryable,
    sealed,
)

from isthmus.endpoints.endpoint import RetrySettings
from isthmus.gateway.ports import AuditFilter
from isthmus.v1 import audit_pb2, operation_pb2
from isthmus.v1 import operation_service_pb2 as pb
from isthmus.wire.header import Direction

CODE = grpc.StatusCode
PARKS = RetrySettings(max_attempts=1)


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Return code and reason of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def redrive(client: Client, operation_id: bytes, caller: str = "") -> pb.RedriveOperationResponse:
    """Redrive one operation."""
    request = pb.RedriveOperationRequest(operation_id=operation_id, caller_namespace=caller)
    return await client.operations.RedriveOperation(request, metadata=client.metadata)


async def redrive_all(client: Client, **values: Any) -> pb.RedriveOperationsResponse:
    """Redrive a page of an endpoint's operations."""
    wanted: dict[str, Any] = {"endpoint": ENDPOINT} | values
    request = pb.RedriveOperationsRequest(**wanted)
    return await client.operations.RedriveOperations(request, metadata=client.metadata)


async def terminate(
    client: Client, operation_id: bytes, reason: str = "a wrong batch", caller: str = ""
) -> pb.TerminateOperationResponse:
    """Terminate an operation."""
    request = pb.TerminateOperationRequest(operation_id=operation_id, reason=reason, caller_namespace=caller)
    return await client.operations.TerminateOperation(request, metadata=client.metadata)


async def started(gateway: RunningGateway) -> bytes:
    """Start an operation and return its id."""
    header = request_header()
    await start(gateway.client(CALLER), sealed(header))
    return header.operation_id


async def parked(gateway: RunningGateway, worker: Worker) -> bytes:
    """Start an operation, let its one attempt fail, and return its id."""
    await gateway.put_endpoint(retry=PARKS)
    operation_id = await started(gateway)
    assert (await worker.answer(retryable(await worker.tasks.get()))).error == b""
    return operation_id


async def events(gateway: RunningGateway, operation_id: bytes) -> list[audit_pb2.AuditEvent]:
    """Return what the log says about an operation."""
    wanted = AuditFilter(operation_id=operation_id)
    stored = await gateway.store.read(lambda reader: reader.audit_events(wanted))
    return [audit_pb2.AuditEvent.FromString(entry.event) for entry in stored]


# --- redrive ------------------------------------------------------------------------------------------------


async def test_parked_operation_runs_again_when_its_owner_redrives_it(
    operation_gateway: RunningGateway,
) -> None:
    """With new attempts, at once, and on record with who did it."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=2)
    operation_id = await parked(operation_gateway, worker)
    owner = operation_gateway.client(HANDLER)
    answer = await redrive(owner, operation_id)
    assert answer.redriven
    task = await worker.tasks.get()
    assert task.attempt == 2
    again = await redrive(owner, operation_id, CALLER)
    assert not again.redriven, "the answer to the first may have been lost"
    assert (again.operation.attempt, again.operation.attempts_spent) == (2, 1)
    assert (await worker.answer(outcome(task))).error == b""
    (event,) = [
        event
        for event in await events(operation_gateway, operation_id)
        if event.HasField("operation_redriven")
    ]
    assert event.actor == f"{HANDLER}/process"
    assert (event.operation_redriven.attempts, event.operation_redriven.error_type) == (1, "UNAVAILABLE")
    assert await refused(redrive(owner, operation_id)) == (CODE.FAILED_PRECONDITION, "OPERATION_ENDED")


async def test_redrive_is_refused_when_the_operation_is_not_parked(operation_gateway: RunningGateway) -> None:
    """It has attempts, and waits for something else."""
    operation_id = await started(operation_gateway)
    owner = operation_gateway.client(HANDLER)
    assert await refused(redrive(owner, operation_id)) == (CODE.FAILED_PRECONDITION, "NOT_PARKED")
    assert await refused(redrive(owner, b"short")) == (CODE.INVALID_ARGUMENT, "WIRE_FORMAT")


async def test_all_parked_operations_run_again_when_the_endpoint_is_redriven(
    operation_gateway: RunningGateway,
) -> None:
    """Page by page, oldest first; what is not parked is left alone."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=3)
    ids = [await parked(operation_gateway, worker) for _ in range(3)]
    scheduled = await started(operation_gateway)
    owner = operation_gateway.client(HANDLER)
    first = await redrive_all(owner, page_size=2)
    assert [operation.operation_id for operation in first.operations] == ids[:2]
    assert first.next_page_token
    second = await redrive_all(owner, page_size=2, page_token=first.next_page_token)
    assert [operation.operation_id for operation in second.operations] == ids[2:]
    assert second.next_page_token == ""
    states = [(await described(owner, operation_id)).state for operation_id in (*ids, scheduled)]
    assert states == [operation_pb2.OPERATION_STATE_SCHEDULED] * 4
    assert (await described(owner, scheduled)).attempt == 0


async def test_only_a_callers_operations_run_again_when_it_is_named(
    operation_gateway: RunningGateway,
) -> None:
    """One caller's poison is not run again with the others'."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    operation_id = await parked(operation_gateway, worker)
    owner = operation_gateway.client(HANDLER)
    assert not (await redrive_all(owner, caller_namespace="stranger")).operations
    (redriven,) = (await redrive_all(owner, caller_namespace=CALLER)).operations
    assert redriven.operation_id == operation_id


@pytest.mark.parametrize("values", [{"page_token": "?"}, {"endpoint": "No/Name"}, {"caller_namespace": "/"}])
@pytest.mark.parametrize("store_kind", ["sqlite"])
async def test_redrive_of_an_endpoint_is_refused_when_it_is_malformed(
    operation_gateway: RunningGateway, values: dict[str, str]
) -> None:
    """Nothing is redriven by mistake."""
    code, _ = await refused(redrive_all(operation_gateway.client(HANDLER), **values))
    assert code is CODE.INVALID_ARGUMENT


# --- terminate ----------------------------------------------------------------------------------------------


async def test_running_operation_ends_when_its_owner_terminates_it(operation_gateway: RunningGateway) -> None:
    """The worker is interrupted, the waiter wakes, and a late outcome changes nothing."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    operation_id = await started(operation_gateway)
    task = await worker.tasks.get()
    caller, owner = operation_gateway.client(CALLER), operation_gateway.client(HANDLER)
    waiting = asyncio.create_task(wait(caller, operation_id))
    answer = await terminate(owner, operation_id)
    assert answer.terminated
    assert answer.operation.statement == operation_pb2.STATEMENT_KIND_TERMINATED
    status = await waiting
    assert status.state == operation_pb2.OPERATION_STATE_FAILED
    body = operation_pb2.StatementBody.FromString(status.ending.statement.body)
    assert body.kind == operation_pb2.STATEMENT_KIND_TERMINATED
    interrupt = await worker.interrupts.get()
    assert (interrupt.task.operation_id, interrupt.cancel) == (operation_id, b"")
    assert b"OPERATION_ENDED" in (await worker.answer(outcome(task))).error
    (ended,) = [
        event for event in await events(operation_gateway, operation_id) if event.HasField("operation_ended")
    ]
    assert ended.actor == f"{HANDLER}/process"
    assert ended.operation_ended.reason == "a wrong batch"
    assert ended.operation_ended.statement == operation_pb2.STATEMENT_KIND_TERMINATED


async def test_no_task_is_left_when_a_started_operation_is_terminated(
    operation_gateway: RunningGateway,
) -> None:
    """Not even the cancel that was to be delivered."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    header = request_header()
    envelope = sealed(header)
    caller = operation_gateway.client(CALLER)
    await start(caller, envelope)
    await worker.answer(outcome(await worker.tasks.get(), Direction.STARTED))
    await cancel(caller, cancel_of(envelope))
    await terminate(operation_gateway.client(HANDLER), header.operation_id)
    await worker.send(grant=1)
    other = await started(operation_gateway)
    assert (await worker.tasks.get()).operation_id == other


async def test_termination_stands_when_it_is_repeated(operation_gateway: RunningGateway) -> None:
    """The first reason is on record, and no second ending."""
    operation_id = await started(operation_gateway)
    owner = operation_gateway.client(HANDLER)
    await terminate(owner, operation_id, "first")
    assert not (await terminate(owner, operation_id, "second")).terminated
    reasons = [
        event.operation_ended.reason
        for event in await events(operation_gateway, operation_id)
        if event.HasField("operation_ended")
    ]
    assert reasons == ["first"]


async def test_termination_is_refused_when_the_operation_ended_otherwise(
    operation_gateway: RunningGateway,
) -> None:
    """An ending is final."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    operation_id = await started(operation_gateway)
    await worker.answer(outcome(await worker.tasks.get()))
    refusing = terminate(operation_gateway.client(HANDLER), operation_id)
    assert await refused(refusing) == (CODE.FAILED_PRECONDITION, "OPERATION_ENDED")


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "\x1b[2J", "x" * 501])
@pytest.mark.parametrize("store_kind", ["sqlite"])
async def test_termination_is_refused_when_its_reason_is_no_sentence(
    operation_gateway: RunningGateway, reason: str
) -> None:
    """It is read on terminals, next year."""
    operation_id = await started(operation_gateway)
    owner = operation_gateway.client(HANDLER)
    assert await refused(terminate(owner, operation_id, reason)) == (
        CODE.INVALID_ARGUMENT,
        "TERMINATE_REASON",
    )
    assert (await described(owner, operation_id)).state == operation_pb2.OPERATION_STATE_SCHEDULED
    assert (await terminate(owner, operation_id, "x" * 500)).terminated


async def test_platform_terminates_when_it_names_the_caller(operation_gateway: RunningGateway) -> None:
    """It takes part in nothing, so it has to say whose operation it means; it may not redrive."""
    operation_id = await started(operation_gateway)
    platform = operation_gateway.client("platform")
    assert await refused(terminate(platform, operation_id)) == (CODE.NOT_FOUND, "OPERATION_NOT_FOUND")
    code, _ = await refused(redrive(platform, operation_id, CALLER))
    assert code in {CODE.NOT_FOUND, CODE.PERMISSION_DENIED}
    assert (await terminate(platform, operation_id, caller=CALLER)).terminated
    last = (await events(operation_gateway, operation_id))[-1]
    assert last.actor == "platform/process"


# --- who may not --------------------------------------------------------------------------------------------


async def test_caller_is_denied_when_it_is_not_the_owner(operation_gateway: RunningGateway) -> None:
    """It sees the operation, so it is told that it may not; its owner sees the attempts."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    operation_id = await parked(operation_gateway, worker)
    caller = operation_gateway.client(CALLER)
    denied = (CODE.PERMISSION_DENIED, "ACCESS_DENIED")
    assert await refused(redrive(caller, operation_id)) == denied
    assert await refused(redrive_all(caller)) == denied
    assert await refused(terminate(caller, operation_id)) == denied
    assert (await described(caller, operation_id)).state == operation_pb2.OPERATION_STATE_PARKED
    wanted = AuditFilter(namespace=HANDLER, types=frozenset({"request_denied"}))
    stored = await operation_gateway.store.read(lambda reader: reader.audit_events(wanted))
    actions = [audit_pb2.AuditEvent.FromString(entry.event).request_denied.action for entry in stored]
    assert actions == ["redrive", "redrive", "terminate"]


@pytest.mark.parametrize("named", ["", CALLER, HANDLER, "no/name"])
async def test_operation_does_not_exist_when_an_outsider_wants_to_end_it(
    operation_gateway: RunningGateway, named: str
) -> None:
    """A worker of another namespace that connected to this gateway is an outsider, too."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    operation_id = await parked(operation_gateway, worker)
    stranger = operation_gateway.client("stranger")
    await Worker(stranger, b"x" * 16).hello(grant=1)
    hidden = (CODE.NOT_FOUND, "OPERATION_NOT_FOUND")
    assert await refused(redrive(stranger, operation_id, named)) == hidden
    assert await refused(terminate(stranger, operation_id, caller=named)) == hidden
    assert await refused(redrive_all(stranger)) == (CODE.NOT_FOUND, "ENDPOINT_NOT_FOUND")
    shown = await described(operation_gateway.client(HANDLER), operation_id)
    assert shown.state == operation_pb2.OPERATION_STATE_PARKED
