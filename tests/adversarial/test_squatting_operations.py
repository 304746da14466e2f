"""Operations, tasks and sessions of others: for a stranger they do not exist, and nothing moves them."""

import os
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from tests.adversarial.neighbor import ENDPOINT, OWNER, QUEUE, VICTIM, Neighbor, refused
from tests.adversarial.neighborhood import Neighborhood, Operation, neighborhood

from isthmus.v1 import endpoint_service_pb2, operation_pb2, operation_service_pb2, worker_service_pb2
from isthmus.wire.header import Direction

CODE = grpc.StatusCode


@pytest.fixture
async def place() -> AsyncIterator[Neighborhood]:
    """A gateway with three namespaces."""
    async with neighborhood() as made:
        yield made


@pytest.mark.parametrize("caller", ["", VICTIM, OWNER, "mallory", "no/namespace", "nobody"])
async def test_operation_does_not_exist_when_a_stranger_asks(place: Neighborhood, caller: str) -> None:
    """Every way to ask says NOT_FOUND, with the same words as for an id that nobody has."""
    theirs = await place.start()
    mallory = place.mallory
    texts = set()
    for operation_id in (theirs.header.operation_id, os.urandom(16)):
        get = operation_service_pb2.GetOperationRequest(caller_namespace=caller, operation_id=operation_id)
        wait = operation_service_pb2.WaitOperationRequest(operation_id=operation_id, wait_ms=10)
        fetch = worker_service_pb2.GetRequestRequest(caller_namespace=caller, operation_id=operation_id)
        for call in (
            mallory.operations.GetOperation(get, metadata=mallory.metadata),
            mallory.operations.WaitOperation(wait, metadata=mallory.metadata),
            mallory.workers.GetRequest(fetch, metadata=mallory.metadata),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is CODE.NOT_FOUND
            texts.add(caught.value.details())
    assert len(texts) == 1
    assert await place.is_open(theirs)


@pytest.mark.parametrize("caller", ["", VICTIM, OWNER, "mallory", "no/namespace", "nobody"])
async def test_operation_is_neither_redriven_nor_ended_when_a_stranger_asks(
    place: Neighborhood, caller: str
) -> None:
    """Not even its existence can be learned by trying to force it."""
    theirs = await place.start()
    mallory = place.mallory
    texts = set()
    for operation_id in (theirs.header.operation_id, os.urandom(16)):
        redrive = operation_service_pb2.RedriveOperationRequest(
            caller_namespace=caller, operation_id=operation_id
        )
        terminate = operation_service_pb2.TerminateOperationRequest(
            caller_namespace=caller, operation_id=operation_id, reason="it is mine"
        )
        for call in (
            mallory.operations.RedriveOperation(redrive, metadata=mallory.metadata),
            mallory.operations.TerminateOperation(terminate, metadata=mallory.metadata),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is CODE.NOT_FOUND
            texts.add(caught.value.details())
    assert len(texts) == 1
    assert await place.is_open(theirs)


async def test_endpoint_is_not_redriven_when_it_is_another_namespaces(place: Neighborhood) -> None:
    """A stranger does not see it, a caller may not: neither finds out what waits there."""
    await place.start()
    request = operation_service_pb2.RedriveOperationsRequest(endpoint=ENDPOINT)
    for who, code in ((place.mallory, CODE.NOT_FOUND), (place.victim, CODE.PERMISSION_DENIED)):
        assert await refused(who.operations.RedriveOperations(request, metadata=who.metadata)) is code
    show = endpoint_service_pb2.GetEndpointRequest(name=ENDPOINT, include_backlog=True)
    victim = place.victim
    answer = await victim.endpoints.GetEndpoint(show, metadata=victim.metadata)
    assert not answer.HasField("backlog"), "other callers' traffic is none of its business"


@pytest.mark.parametrize(
    "role", [operation_service_pb2.OPERATION_ROLE_CALLER, operation_service_pb2.OPERATION_ROLE_HANDLER]
)
async def test_list_is_empty_when_all_operations_are_others(
    place: Neighborhood, role: "operation_service_pb2.OperationRole.ValueType"
) -> None:
    """A list shows one's own."""
    await place.start()
    listed = await place.mallory.operations.ListOperations(
        operation_service_pb2.ListOperationsRequest(role=role), metadata=place.mallory.metadata
    )
    assert not listed.operations


async def test_cancel_is_refused_when_a_stranger_signs_it(place: Neighborhood) -> None:
    """A stranger cancels neither in its own name nor in the caller's, whether or not it may call."""
    theirs = await place.start()
    for sender, code in ((None, CODE.PERMISSION_DENIED), (VICTIM, CODE.INVALID_ARGUMENT)):
        envelope = cancel(
            place.mallory, place, theirs, **({} if sender is None else {"sender_namespace": sender})
        )
        request = operation_service_pb2.CancelOperationRequest(envelope=envelope)
        asked = place.mallory.operations.CancelOperation(request, metadata=place.mallory.metadata)
        assert await refused(asked) is code
    # Nor does the handler's namespace, which knows the operation well.
    request = operation_service_pb2.CancelOperationRequest(envelope=cancel(place.owner, place, theirs))
    asked = place.owner.operations.CancelOperation(request, metadata=place.owner.metadata)
    assert await refused(asked) in {CODE.PERMISSION_DENIED, CODE.NOT_FOUND}
    assert await place.is_open(theirs)


def cancel(who: Neighbor, place: Neighborhood, theirs: Operation, **changes: Any) -> bytes:
    """Seal a cancel of an operation."""
    header = who.header(
        place.owner.about,
        direction=Direction.CANCEL,
        operation_id=theirs.header.operation_id,
        request_digest=theirs.digest,
        schedule_to_close_timeout_ms=0,
        **changes,
    )
    return who.seal(header, place.owner.about)


@pytest.mark.parametrize("who", ["mallory", "victim"])
async def test_poll_is_empty_when_the_queue_is_another_namespaces(place: Neighborhood, who: str) -> None:
    """Whatever a queue is called, it is one of one's own namespace, and empty."""
    await place.start()
    party: Neighbor = getattr(place, who)
    for queue in (QUEUE, f"{OWNER}/{QUEUE}", f"{VICTIM}/{QUEUE}"):
        answer = await party.workers.PollTasks(place.poll(os.urandom(16), queue), metadata=party.metadata)
        assert not answer.tasks
    mine = await place.owner.workers.PollTasks(place.poll(os.urandom(16)), metadata=place.owner.metadata)
    assert len(mine.tasks) == 1


async def test_session_is_refused_when_it_is_another_workers(place: Neighborhood) -> None:
    """Who learns the id of a session can neither take its tasks nor keep it alive, on either way in."""
    await place.start()
    session_id = os.urandom(16)
    owner, mallory = place.owner, place.mallory
    taken = await owner.workers.PollTasks(place.poll(session_id), metadata=owner.metadata)
    assert len(taken.tasks) == 1
    poll = place.poll(session_id)
    assert await refused(mallory.workers.PollTasks(poll, metadata=mallory.metadata)) is CODE.PERMISSION_DENIED
    respond = worker_service_pb2.RespondTasksRequest(worker=poll.worker)
    responding = mallory.workers.RespondTasks(respond, metadata=mallory.metadata)
    assert await refused(responding) is CODE.PERMISSION_DENIED
    stream = mallory.workers.Work(metadata=mallory.metadata)
    await stream.write(worker_service_pb2.WorkRequest(hello=poll.worker, credits=5))
    assert await refused(stream.read()) is CODE.PERMISSION_DENIED


async def complete(who: Neighbor, theirs: Operation, envelope: bytes) -> grpc.StatusCode:
    """Complete an operation; return how that is refused."""
    request = worker_service_pb2.CompleteOperationRequest(
        caller_namespace=VICTIM, operation_id=theirs.header.operation_id, envelope=envelope
    )
    return await refused(who.workers.CompleteOperation(request, metadata=who.metadata))


async def test_completion_is_refused_when_a_stranger_signs_it(place: Neighborhood) -> None:
    """An outcome comes from the handler's namespace; to all others the operation does not exist."""
    theirs = await place.start()
    for who in (place.mallory, place.victim):
        _, envelope = who.answer(theirs.header, theirs.digest, place.victim.about)
        assert await complete(who, theirs, envelope) is CODE.NOT_FOUND
    _, as_owner = place.mallory.answer(
        theirs.header, theirs.digest, place.victim.about, sender_namespace=OWNER, principal=f"{OWNER}/test"
    )
    assert await complete(place.mallory, theirs, as_owner) is CODE.INVALID_ARGUMENT
    assert await place.is_open(theirs)


async def test_outcome_of_a_task_is_refused_when_a_stranger_sends_it(place: Neighborhood) -> None:
    """A stranger's worker can end, return, reject or retry no attempt of others."""
    theirs = await place.start()
    mallory = place.mallory
    await place.owner.workers.PollTasks(place.poll(os.urandom(16)), metadata=place.owner.metadata)
    _, envelope = mallory.answer(theirs.header, theirs.digest, place.victim.about)
    ref = worker_service_pb2.TaskRef(
        caller_namespace=VICTIM,
        operation_id=theirs.header.operation_id,
        attempt=1,
        kind=worker_service_pb2.TASK_KIND_START,
    )
    cancel_ref = worker_service_pb2.TaskRef()
    cancel_ref.CopyFrom(ref)
    cancel_ref.kind = worker_service_pb2.TASK_KIND_CANCEL
    outcomes = [
        worker_service_pb2.TaskOutcome(task=ref, envelope=envelope),
        worker_service_pb2.TaskOutcome(task=ref, returned=worker_service_pb2.TaskReturned()),
        worker_service_pb2.TaskOutcome(task=ref, rejection=worker_service_pb2.Rejection(code="E2E_REJECTED")),
        worker_service_pb2.TaskOutcome(
            task=ref, retry=worker_service_pb2.RetryableFailure(error_type="INTERNAL")
        ),
        worker_service_pb2.TaskOutcome(task=ref, cancel_delivered=worker_service_pb2.CancelDelivered()),
        worker_service_pb2.TaskOutcome(task=cancel_ref, returned=worker_service_pb2.TaskReturned()),
    ]
    hello = place.poll(os.urandom(16)).worker
    answer = await mallory.workers.RespondTasks(
        worker_service_pb2.RespondTasksRequest(worker=hello, outcomes=outcomes), metadata=mallory.metadata
    )
    codes = [status_pb2.Status.FromString(ack.error).code for ack in answer.acks]
    assert codes == [CODE.NOT_FOUND.value[0]] * len(outcomes)
    described = await place.owner.operations.GetOperation(
        operation_service_pb2.GetOperationRequest(
            caller_namespace=VICTIM, operation_id=theirs.header.operation_id
        ),
        metadata=place.owner.metadata,
    )
    assert described.operation.state == operation_pb2.OPERATION_STATE_DISPATCHED
    assert described.operation.attempt == 1


MISMATCHES: dict[str, dict[str, Any]] = {
    "other_digest": {"request_digest": bytes(32)},
    "other_operation": {"operation_id": bytes(16)},
    "other_endpoint": {"endpoint": "refunds"},
    "other_service": {"service": "Refunds"},
    "other_method": {"operation": "refund"},
    "other_recipient": {"recipient_namespace": "mallory", "recipients": ("mallory",)},
    "other_principal": {"principal": f"{OWNER}/somebody-else"},
    "other_trust_domain": {"trust_domain": "other.isthmus.internal"},
}


@pytest.mark.parametrize("changes", MISMATCHES.values(), ids=MISMATCHES.keys())
async def test_completion_is_refused_when_it_answers_something_else(
    place: Neighborhood, changes: dict[str, Any]
) -> None:
    """Even the handler's own namespace cannot end an operation with the answer to another question."""
    theirs = await place.start()
    recipient = place.mallory.about if "recipients" in changes else place.victim.about
    _, envelope = place.owner.answer(theirs.header, theirs.digest, recipient, **changes)
    assert await complete(place.owner, theirs, envelope) is CODE.INVALID_ARGUMENT
    assert await place.is_open(theirs)
