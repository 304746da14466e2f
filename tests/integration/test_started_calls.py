"""Starts and executes in frames: each call has its own fate, whatever its frame carries besides."""

import asyncio

import pytest
from tests.integration.caller_session import Call, Session, execute_call
from tests.integration.operation_calls import cancel, make_round_trip, reason_in, start_request
from tests.integration.operation_gateway import RunningGateway, Worker
from tests.integration.sealed_messages import (
    CALLER,
    HANDLER,
    cancel_of,
    outcome,
    request,
    request_header,
    sealed,
)

from isthmus.gateway.api import started_calls
from isthmus.gateway.core.errors import UnavailableError
from isthmus.gateway.ports import Command
from isthmus.v1 import operation_pb2, operation_service_pb2
from isthmus.wire.envelope import parse_envelope

SCHEDULED = operation_pb2.OPERATION_STATE_SCHEDULED
SUCCEEDED = operation_pb2.OPERATION_STATE_SUCCEEDED
CANCELED = operation_pb2.OPERATION_STATE_CANCELED
REJECT = operation_service_pb2.REUSE_POLICY_REJECT


@pytest.fixture
def store_kind() -> str:
    """What a frame carries is taken apart before any store is asked."""
    return "sqlite"


async def test_each_call_has_its_own_fate_when_they_share_a_frame(
    operation_gateway: RunningGateway, session: Session
) -> None:
    """Refused, denied, conflicting, attached and new ones: none of them disturbs another."""
    await operation_gateway.put_endpoint("closed", allow=())
    existing = request()
    await session.send(Call(call_id=1, start=start_request(existing)))
    await session.reply(1)
    await session.send(
        Call(call_id=2, start=start_request(b"garbage")),
        execute_call(3, sealed(request_header(endpoint="closed"))),
        execute_call(4, sealed(request_header(endpoint="unknown"))),
        Call(call_id=5, start=start_request(existing, REJECT)),
        Call(call_id=6, start=start_request(request())),
        execute_call(7, request(), wait_ms=0),
    )
    assert reason_in((await session.reply(2)).error) == "WIRE_FORMAT"
    assert reason_in((await session.reply(3)).error) == "ACCESS_DENIED"
    assert reason_in((await session.reply(4)).error) == "ENDPOINT_NOT_FOUND"
    attached = (await session.reply(5)).start.status
    assert attached.attached
    assert attached.request.header == parse_envelope(existing).header_bytes
    for number, kind in ((6, "start"), (7, "execute")):
        reply = await session.reply(number)
        assert reply.WhichOneof("reply") == kind
        assert getattr(reply, kind).status.state == SCHEDULED


async def test_others_of_the_frame_go_on_when_a_denial_cannot_be_recorded_yet(
    operation_gateway: RunningGateway, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that has to wait before it is admitted holds up nobody else."""
    await operation_gateway.put_endpoint("closed", allow=())
    recorded = asyncio.Event()
    transact = operation_gateway.store.transact

    async def transact_later(command: Command[object], **hints: object) -> object:
        await recorded.wait()
        return await transact(command)

    await session.send(execute_call(1, request(), wait_ms=0))
    await session.reply(1)
    monkeypatch.setattr(operation_gateway.store, "transact", transact_later)
    await session.send(
        execute_call(2, sealed(request_header(endpoint="closed"))), execute_call(3, request(), wait_ms=0)
    )
    assert (await session.reply(3)).execute.status.state == SCHEDULED
    assert not session.is_answered(2)
    recorded.set()
    assert reason_in((await session.reply(2)).error) == "ACCESS_DENIED"


async def test_execute_answers_with_state_when_its_time_is_over(
    operation_gateway: RunningGateway, session: Session
) -> None:
    """Those of one commit that waited long enough are answered; those with more time go on waiting."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello()
    patient = request_header()
    await session.send(
        execute_call(1, request(), wait_ms=1),
        execute_call(2, request(), wait_ms=1),
        execute_call(3, sealed(patient)),
    )
    for number in (1, 2):
        status = (await session.reply(number)).execute.status
        assert status.state == SCHEDULED
        assert not status.HasField("ending")
    assert not session.is_answered(3)
    await worker.send(grant=3)
    tasks = {task.operation_id: task for task in [await worker.tasks.get() for _ in range(3)]}
    await worker.send(outcome(tasks[patient.operation_id]))
    assert (await session.reply(3)).execute.status.ending.attested


async def test_execute_that_attached_is_answered_when_the_operation_ends(
    operation_gateway: RunningGateway, session: Session
) -> None:
    """It waits like the one that started it, and gets the proof of the request besides."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    envelope = request()
    await session.send(execute_call(1, envelope))
    task = await worker.tasks.get()
    await session.send(execute_call(2, envelope), execute_call(3, envelope, wait_ms=1))
    waiting = (await session.reply(3)).execute.status
    assert waiting.state == operation_pb2.OPERATION_STATE_DISPATCHED
    assert not session.is_answered(2)
    await worker.answer(outcome(task))
    first, second = (await session.reply(1)).execute.status, (await session.reply(2)).execute.status
    assert (first.state, second.state) == (SUCCEEDED, SUCCEEDED)
    assert (first.attached, second.attached) == (False, True)
    assert first.ending.attested == second.ending.attested
    assert second.request.header == parse_envelope(envelope).header_bytes
    await session.send(execute_call(4, envelope))
    late = (await session.reply(4)).execute.status
    assert (late.state, late.attached) == (SUCCEEDED, True)


async def test_execute_brings_the_cancel_when_it_ended_the_operation(
    operation_gateway: RunningGateway, session: Session
) -> None:
    """The caller believes a gateway's statement only together with a cancel that its namespace signed."""
    envelope = request()
    await session.send(execute_call(1, envelope))
    caller = operation_gateway.client(CALLER)
    while not len(operation_gateway.assembly.waiters):
        await make_round_trip(caller)
    canceling = cancel_of(envelope)
    await cancel(caller, canceling)
    status = (await session.reply(1)).execute.status
    assert (status.state, status.cancel) == (CANCELED, canceling)


async def test_calls_are_forgotten_when_they_are_abandoned(
    operation_gateway: RunningGateway, session: Session
) -> None:
    """Before they start, while they wait, and while their operation ends: nothing stays in memory."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=2)
    abandon = operation_service_pb2.Abandon()
    await session.send(
        execute_call(1, request()), execute_call(2, request()), Call(call_id=1, abandon=abandon)
    )
    task = await worker.tasks.get()
    await session.send(Call(call_id=2, abandon=abandon))
    await worker.answer(outcome(task))
    assert worker.tasks.empty()
    assert not len(operation_gateway.assembly.waiters)
    await session.send(execute_call(1, request(), wait_ms=0))
    assert (await session.reply(1)).execute.status.state
    assert not session.is_answered(2)


async def test_each_call_is_refused_when_the_store_takes_nothing(
    operation_gateway: RunningGateway, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the frame hear of it, none stays open, and the next frame is served."""
    await session.send(execute_call(1, request(), wait_ms=0))
    await session.reply(1)

    def refuse(*_arguments: object, **_hints: object) -> None:
        raise UnavailableError("the store is not open", reason="STORE_CLOSED")

    with monkeypatch.context() as patch:
        patch.setattr(operation_gateway.store, "submit_all", refuse)
        await session.send(execute_call(2, request()), Call(call_id=3, start=start_request(request())))
        for number in (2, 3):
            assert reason_in((await session.reply(number)).error) == "STORE_CLOSED"
    assert not len(operation_gateway.assembly.waiters)
    await session.send(execute_call(4, request(), wait_ms=0))
    assert (await session.reply(4)).execute.status.state == SCHEDULED


async def test_frame_is_committed_in_parts_when_it_is_large(
    operation_gateway: RunningGateway, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who shares the gateway does not wait for all of a large frame."""
    monkeypatch.setattr(started_calls, "MAX_STARTS_PER_COMMIT", 2)
    sizes: list[int] = []
    submit_all = operation_gateway.store.submit_all

    def noting(commands: list[Command[object]], **hints: object) -> object:
        sizes.append(len(commands))
        return submit_all(commands)

    await session.send(execute_call(0, request(), wait_ms=0))
    await session.reply(0)
    monkeypatch.setattr(operation_gateway.store, "submit_all", noting)
    await session.send(*(execute_call(number, request(), wait_ms=0) for number in range(1, 6)))
    for number in range(1, 6):
        assert (await session.reply(number)).execute.status.state == SCHEDULED
    assert sizes == [2, 2, 1]
