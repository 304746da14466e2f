"""What callers ask for: attach, conflict, cancel, wait, timeouts, and who may know of an operation."""

import asyncio
import hashlib

import grpc
import grpc.aio
import pytest
from tests.integration.operation_calls import (
    cancel,
    described,
    execute,
    make_round_trip,
    refusal,
    start,
    wait,
)
from tests.integration.operation_gateway import RunningGateway, Worker
from tests.integration.sealed_messages import (
    CALLER,
    ENCRYPTION_KEY_ID,
    HANDLER,
    HOUR_MS,
    NOW_MS,
    SIGNING_KEY_ID,
    answer_to,
    cancel_of,
    keyset,
    outcome,
    ref,
    request,
    request_header,
    retryable,
    sealed,
)

from isthmus.endpoints.endpoint import AllowRule
from isthmus.gateway.ports import AuditFilter
from isthmus.v1 import (
    audit_pb2,
    key_service_pb2,
    operation_pb2,
    operation_service_pb2,
    worker_service_pb2,
)
from isthmus.wire.envelope import parse_envelope
from isthmus.wire.header import Direction
from isthmus.wire.names import NamespaceName
from isthmus.wire.statement import statement_signed_bytes

ACTIVE = key_service_pb2.KEY_STATE_ACTIVE
REJECT = operation_service_pb2.REUSE_POLICY_REJECT


async def test_start_attaches_when_repeated(operation_gateway: RunningGateway) -> None:
    """The same bytes again, or its id sealed again: the operation that exists, and its request's proof."""
    caller = operation_gateway.client(CALLER)
    header = request_header(fingerprint=b"f" * 32)
    first = sealed(header)
    assert not (await start(caller, first)).attached
    for again in (first, sealed(header, b"sealed again")):
        status = await start(caller, again)
        assert status.attached
        assert status.request.header == parse_envelope(first).header_bytes
        assert status.request.body_digest == hashlib.sha256(b"ciphertext").digest()
        assert status.request.signature == parse_envelope(first).signature


async def test_start_conflicts_when_input_differs(operation_gateway: RunningGateway) -> None:
    """One id names one input."""
    caller = operation_gateway.client(CALLER)
    header = request_header(fingerprint=b"f" * 32)
    await start(caller, sealed(header))
    other = request(operation_id=header.operation_id, fingerprint=b"g" * 32)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await start(caller, other)
    assert refusal(refused.value) == (grpc.StatusCode.ABORTED, "OPERATION_CONFLICT")


async def test_start_is_refused_when_policy_rejects_reuse(operation_gateway: RunningGateway) -> None:
    """REJECT: another sealing of an existing id is refused; a transport retry is not."""
    caller = operation_gateway.client(CALLER)
    header = request_header()
    first = sealed(header)
    await start(caller, first, REJECT)
    assert (await start(caller, first, REJECT)).attached
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await start(caller, sealed(header, b"another"), REJECT)
    assert refusal(refused.value) == (grpc.StatusCode.ALREADY_EXISTS, "OPERATION_EXISTS")


async def test_operation_is_unknown_when_asked_from_foreign_namespace(
    operation_gateway: RunningGateway,
) -> None:
    """Nobody outside of the two namespaces learns that an operation exists."""
    header = request_header()
    await start(operation_gateway.client(CALLER), sealed(header))
    stranger = operation_gateway.client("stranger")
    for asking in (
        described(stranger, header.operation_id, CALLER),
        described(stranger, header.operation_id),
        wait(stranger, header.operation_id),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asking
        assert refusal(refused.value) == (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND")
    handler = operation_gateway.client(HANDLER)
    assert (await described(handler, header.operation_id, CALLER)).handler_namespace == HANDLER
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await wait(handler, header.operation_id)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_denial_is_audited_once_a_second_when_repeated(operation_gateway: RunningGateway) -> None:
    """A denied caller is told so, and a flood of equal denials is one record a second."""
    stranger = operation_gateway.client("stranger")
    envelope = request(sender_namespace=NamespaceName("stranger"), principal="stranger/process")
    for _ in range(3):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await start(stranger, envelope)
        assert refusal(refused.value) == (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")
    assert await denials(operation_gateway) == 1
    operation_gateway.advance(seconds=1)
    with pytest.raises(grpc.aio.AioRpcError):
        await start(stranger, envelope)
    assert await denials(operation_gateway) == 2


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"endpoint": "nowhere"}, grpc.StatusCode.NOT_FOUND, "ENDPOINT_NOT_FOUND"),
        (
            {"sender_namespace": NamespaceName("stranger")},
            grpc.StatusCode.INVALID_ARGUMENT,
            "HEADER_MISMATCH",
        ),
        ({"principal": "data/somebody"}, grpc.StatusCode.INVALID_ARGUMENT, "HEADER_MISMATCH"),
        ({"trust_domain": "elsewhere"}, grpc.StatusCode.INVALID_ARGUMENT, "HEADER_MISMATCH"),
        (
            {"recipient_namespace": CALLER, "recipients": (CALLER,)},
            grpc.StatusCode.FAILED_PRECONDITION,
            "ENDPOINT_MOVED",
        ),
        (
            {"schedule_to_close_timeout_ms": 25 * HOUR_MS},
            grpc.StatusCode.INVALID_ARGUMENT,
            "TIMEOUT_TOO_LONG",
        ),
        (
            {"issued_at_ms": NOW_MS - 2, "expires_at_ms": NOW_MS - 1},
            grpc.StatusCode.INVALID_ARGUMENT,
            "MESSAGE_EXPIRED",
        ),
        ({"issued_at_ms": NOW_MS + 61_000}, grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_FROM_FUTURE"),
    ],
    ids=[
        "unknown_endpoint",
        "foreign_namespace",
        "foreign_principal",
        "foreign_trust_domain",
        "wrong_recipient",
        "timeout_too_long",
        "expired",
        "from_future",
    ],
)
@pytest.mark.parametrize("store_kind", ["sqlite"])
async def test_start_is_refused_when_header_does_not_fit(
    operation_gateway: RunningGateway, changes: dict[str, object], code: grpc.StatusCode, reason: str
) -> None:
    """The gateway assigns no trusted field: what the header says has to be true."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await start(operation_gateway.client(CALLER), request(**changes))
    assert refusal(refused.value) == (code, reason)


@pytest.mark.parametrize(
    ("per_second", "most_open", "reason"), [(1, 0, "RATE_LIMITED"), (0, 1, "TOO_MANY_OPEN_OPERATIONS")]
)
async def test_start_is_refused_when_its_caller_is_over_a_limit(
    operation_gateway: RunningGateway, per_second: int, most_open: int, reason: str
) -> None:
    """The endpoint's owner says how much each caller may have; the same start again still attaches."""
    await operation_gateway.put_endpoint(max_operations_per_second=per_second, max_open_operations=most_open)
    client, first = operation_gateway.client(CALLER), request()
    await start(client, first)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await start(client, request())
    assert refusal(refused.value) == (grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
    assert (await start(client, first)).attached


async def test_start_is_refused_when_payload_is_too_large(operation_gateway: RunningGateway) -> None:
    """The endpoint's owner says how much it takes."""
    await operation_gateway.put_endpoint(max_payload_bytes=8)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await start(operation_gateway.client(CALLER), sealed(request_header(), b"123456789"))
    assert refusal(refused.value) == (grpc.StatusCode.INVALID_ARGUMENT, "PAYLOAD_TOO_LARGE")


async def test_start_is_refused_when_envelope_is_garbage(operation_gateway: RunningGateway) -> None:
    """Malformed bytes are refused before anything else."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await start(operation_gateway.client(CALLER), b"\xff" * 64)
    assert refusal(refused.value) == (grpc.StatusCode.INVALID_ARGUMENT, "WIRE_FORMAT")


async def test_start_is_refused_when_allow_list_changed(operation_gateway: RunningGateway) -> None:
    """A cached endpoint is forgotten as soon as it changes."""
    caller = operation_gateway.client(CALLER)
    await start(caller, request())
    await operation_gateway.put_endpoint(allow=(AllowRule(namespace=NamespaceName("stranger")),))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await start(caller, request())
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_start_is_retryable_when_recipient_key_was_retired(
    operation_gateway: RunningGateway,
) -> None:
    """The SDK seals again to the key that is active now."""
    caller = operation_gateway.client(CALLER)
    await start(caller, request())
    states = {ENCRYPTION_KEY_ID: key_service_pb2.KEY_STATE_DECRYPT_ONLY}
    await operation_gateway.put_keyset(HANDLER, 1, keyset(HANDLER, encryption=states, signing={}))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await start(caller, request())
    assert refusal(refused.value) == (grpc.StatusCode.ABORTED, "KEY_RETIRED")
    await operation_gateway.put_keyset(
        HANDLER, 2, keyset(HANDLER, encryption={ENCRYPTION_KEY_ID: ACTIVE}, signing={})
    )
    await start(caller, request())


async def test_start_is_refused_when_signing_key_is_not_published(
    operation_gateway: RunningGateway,
) -> None:
    """A namespace that published keys signs with one of them."""
    caller = operation_gateway.client(CALLER)
    await operation_gateway.put_keyset(CALLER, 1, keyset(CALLER, encryption={}, signing={b"x" * 16: ACTIVE}))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await start(caller, request())
    assert refusal(refused.value) == (grpc.StatusCode.FAILED_PRECONDITION, "SENDER_KEY_UNKNOWN")
    await operation_gateway.put_keyset(
        CALLER, 2, keyset(CALLER, encryption={}, signing={SIGNING_KEY_ID: ACTIVE})
    )
    await start(caller, request())


async def test_cancel_ends_operation_when_nobody_runs_it(operation_gateway: RunningGateway) -> None:
    """A gateway statement, and the signed cancel that makes it believable."""
    caller = operation_gateway.client(CALLER)
    envelope = request()
    executing = asyncio.create_task(execute(caller, envelope))
    while not operation_gateway.commits:
        await make_round_trip(caller)
    signed = cancel_of(envelope)
    operation_gateway.advance(seconds=1)
    status = await cancel(caller, signed)
    assert status.state == operation_pb2.OPERATION_STATE_CANCELED
    assert (await cancel(caller, signed)).state == operation_pb2.OPERATION_STATE_CANCELED
    assert status.cancel == signed
    woken = await executing
    assert woken.cancel == signed
    assert woken.ending.statement == status.ending.statement, "the same body gets the same signature"
    body = operation_pb2.StatementBody.FromString(status.ending.statement.body)
    assert body.kind == operation_pb2.STATEMENT_KIND_CANCELED
    assert body.request_digest == parse_envelope(envelope).digest
    assert body.decided_at_ms == NOW_MS + 1000
    signer = operation_gateway.signer
    assert status.ending.statement.key_id == signer.key_id
    signer._private_key.public_key().verify(
        status.ending.statement.signature, statement_signed_bytes(status.ending.statement.body)
    )


async def test_cancel_interrupts_handler_when_it_runs(operation_gateway: RunningGateway) -> None:
    """The handler decides the outcome."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    caller = operation_gateway.client(CALLER)
    envelope = request()
    executing = asyncio.create_task(execute(caller, envelope))
    task = await worker.tasks.get()
    signed = cancel_of(envelope)
    assert (await cancel(caller, signed)).state == operation_pb2.OPERATION_STATE_DISPATCHED
    interrupt = await worker.interrupts.get()
    assert (interrupt.task, interrupt.cancel) == (ref(task), signed)
    await worker.answer(outcome(task, Direction.CANCELED))
    status = await executing
    assert status.state == operation_pb2.OPERATION_STATE_CANCELED
    assert status.ending.WhichOneof("ending") == "attested"


async def test_cancel_reaches_handler_when_operation_is_asynchronous(
    operation_gateway: RunningGateway,
) -> None:
    """A task of its own carries request, cancel and token until the handler took it."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=3)
    caller = operation_gateway.client(CALLER)
    envelope = request()
    await start(caller, envelope)
    task = await worker.tasks.get()
    token = outcome(task, Direction.STARTED)
    assert (await worker.answer(token)).error == b""
    shown = await described(caller, task.operation_id)
    assert shown.waiting == operation_pb2.WAITING_CAUSE_HANDLER_ASYNC
    signed = cancel_of(envelope)
    await cancel(caller, signed)
    cancel_task = await worker.tasks.get()
    assert cancel_task.kind == worker_service_pb2.TASK_KIND_CANCEL
    assert (cancel_task.request, cancel_task.cancel, cancel_task.started) == (
        envelope,
        signed,
        token.envelope,
    )
    assert (await worker.answer(retryable(cancel_task))).error == b""
    operation_gateway.advance(seconds=1)
    assert (await worker.tasks.get()) == cancel_task
    delivered = worker_service_pb2.TaskOutcome(
        task=ref(cancel_task), cancel_delivered=worker_service_pb2.CancelDelivered()
    )
    assert (await worker.answer(delivered)).error == b""
    handler = operation_gateway.client(HANDLER)
    await handler.workers.CompleteOperation(
        worker_service_pb2.CompleteOperationRequest(
            caller_namespace=CALLER,
            operation_id=task.operation_id,
            envelope=answer_to(envelope, Direction.CANCELED),
        ),
        metadata=handler.metadata,
    )
    assert (await wait(caller, task.operation_id)).state == operation_pb2.OPERATION_STATE_CANCELED


async def test_cancel_changes_nothing_when_operation_has_ended(
    operation_gateway: RunningGateway,
) -> None:
    """The first outcome stands."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    caller = operation_gateway.client(CALLER)
    envelope = request()
    await start(caller, envelope)
    await worker.answer(outcome(await worker.tasks.get()))
    status = await cancel(caller, cancel_of(envelope))
    assert status.state == operation_pb2.OPERATION_STATE_SUCCEEDED
    assert status.ending.WhichOneof("ending") == "attested"


async def test_cancel_is_refused_when_it_names_another_request(
    operation_gateway: RunningGateway,
) -> None:
    """A cancel is bound to the request that it cancels."""
    caller = operation_gateway.client(CALLER)
    header = request_header()
    await start(caller, sealed(header))
    forged = cancel_of(sealed(header, b"another"))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await cancel(caller, forged)
    assert refusal(refused.value) == (grpc.StatusCode.INVALID_ARGUMENT, "HEADER_MISMATCH")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await cancel(caller, cancel_of(request()))
    assert refusal(refused.value) == (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND")


@pytest.mark.parametrize(
    ("timeouts", "kind"),
    [
        (
            {"schedule_to_start_timeout_ms": 5000},
            operation_pb2.STATEMENT_KIND_TIMED_OUT_SCHEDULE_TO_START,
        ),
        (
            {"schedule_to_close_timeout_ms": 5000},
            operation_pb2.STATEMENT_KIND_TIMED_OUT_SCHEDULE_TO_CLOSE,
        ),
    ],
    ids=["schedule_to_start", "schedule_to_close"],
)
async def test_operation_times_out_when_its_time_is_over_and_never_before(
    operation_gateway: RunningGateway,
    timeouts: dict[str, int],
    kind: "operation_pb2.StatementKind.ValueType",
) -> None:
    """To the millisecond: not at 4.999 s, but at 5 s."""
    caller = operation_gateway.client(CALLER)
    header = request_header(**timeouts)
    await start(caller, sealed(header))
    waiting = asyncio.create_task(wait(caller, header.operation_id))
    operation_gateway.advance(milliseconds=4999)
    await operation_gateway.timeouts.step()
    state = (await described(caller, header.operation_id)).state
    assert state == operation_pb2.OPERATION_STATE_SCHEDULED
    operation_gateway.advance(milliseconds=1)
    await operation_gateway.timeouts.step()
    status = await waiting
    assert status.state == operation_pb2.OPERATION_STATE_TIMED_OUT
    assert operation_pb2.StatementBody.FromString(status.ending.statement.body).kind == kind


async def test_operation_times_out_when_it_ran_as_long_as_it_may_and_never_before(
    operation_gateway: RunningGateway,
) -> None:
    """From its first dispatch on, whatever the attempts after it: to the millisecond."""
    gateway = operation_gateway
    worker = await Worker(gateway.client(HANDLER)).hello(grant=2)
    caller = gateway.client(CALLER)
    await start(caller, request(start_to_close_timeout_ms=5000))
    task = await worker.tasks.get()
    await worker.answer(retryable(task))
    gateway.advance(milliseconds=2000)
    assert (await worker.tasks.get()).attempt == 2
    gateway.advance(milliseconds=2999)
    await gateway.timeouts.step()
    assert (await described(caller, task.operation_id)).state == operation_pb2.OPERATION_STATE_DISPATCHED
    gateway.advance(milliseconds=1)
    await gateway.timeouts.step()
    status = await wait(caller, task.operation_id)
    body = operation_pb2.StatementBody.FromString(status.ending.statement.body)
    assert body.kind == operation_pb2.STATEMENT_KIND_TIMED_OUT_START_TO_CLOSE


async def test_late_completion_is_refused_and_audited_when_operation_has_ended(
    operation_gateway: RunningGateway,
) -> None:
    """From another process, after an outcome: that one stands, and this one is on record."""
    handler, caller = operation_gateway.client(HANDLER), operation_gateway.client(CALLER)
    worker = await Worker(handler).hello(grant=1)
    await start(caller, request())
    task = await worker.tasks.get()
    assert (await worker.answer(outcome(task, Direction.STARTED))).error == b""
    for number in (1, 2):
        completion = worker_service_pb2.CompleteOperationRequest(
            caller_namespace=CALLER, operation_id=task.operation_id, envelope=answer_to(task.request)
        )
        call = handler.workers.CompleteOperation(completion, metadata=handler.metadata)
        if number == 1:
            await call
            continue
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refusal(refused.value) == (grpc.StatusCode.FAILED_PRECONDITION, "OPERATION_ENDED")
    assert len(await audited(operation_gateway, "late_outcome_refused")) == 1


async def test_late_outcome_is_refused_and_audited_when_operation_timed_out(
    operation_gateway: RunningGateway,
) -> None:
    """The first ending stands; that somebody came too late is on record."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    caller = operation_gateway.client(CALLER)
    await start(caller, request(start_to_close_timeout_ms=1000))
    task = await worker.tasks.get()
    operation_gateway.advance(seconds=1)
    await operation_gateway.timeouts.step()
    assert (await worker.interrupts.get()).cancel == b""
    ack = await worker.answer(outcome(task))
    assert b"OPERATION_ENDED" in ack.error
    assert len(await audited(operation_gateway, "late_outcome_refused")) == 1
    assert (await wait(caller, task.operation_id)).state == operation_pb2.OPERATION_STATE_TIMED_OUT


async def test_outcome_is_refused_when_it_answers_another_operation(
    operation_gateway: RunningGateway,
) -> None:
    """Operation, request digest and recipient have to be those of the task."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=2)
    caller = operation_gateway.client(CALLER)
    for _ in range(2):
        await start(caller, request())
    first, second = await worker.tasks.get(), await worker.tasks.get()
    swapped = outcome(second)
    swapped.task.CopyFrom(ref(first))
    assert b"HEADER_MISMATCH" in (await worker.answer(swapped)).error
    stranger = operation_gateway.client("stranger")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stranger.workers.CompleteOperation(
            worker_service_pb2.CompleteOperationRequest(
                caller_namespace=CALLER,
                operation_id=first.operation_id,
                envelope=answer_to(
                    first.request,
                    sender_namespace=NamespaceName("stranger"),
                    principal="stranger/process",
                ),
            ),
            metadata=stranger.metadata,
        )
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_wait_resumes_when_abandoned_before(operation_gateway: RunningGateway) -> None:
    """Giving up waiting never cancels; another wait, from anywhere, gets the outcome and the proof."""
    worker = await Worker(operation_gateway.client(HANDLER)).hello(grant=1)
    caller = operation_gateway.client(CALLER)
    envelope = request()
    abandoned = asyncio.create_task(execute(caller, envelope))
    task = await worker.tasks.get()
    abandoned.cancel()
    while len(operation_gateway.assembly.waiters):
        await make_round_trip(caller)
    running = await wait(caller, task.operation_id, wait_ms=0)
    assert running.state == operation_pb2.OPERATION_STATE_DISPATCHED
    waiting = asyncio.create_task(
        wait(operation_gateway.client(CALLER), task.operation_id, include_request=True)
    )
    await worker.answer(outcome(task))
    status = await waiting
    assert status.state == operation_pb2.OPERATION_STATE_SUCCEEDED
    assert status.request.header == parse_envelope(envelope).header_bytes


async def test_wait_answers_with_state_when_its_time_is_over(operation_gateway: RunningGateway) -> None:
    """A wait that ends before the operation says where the operation is."""
    caller = operation_gateway.client(CALLER)
    header = request_header()
    status = await execute(caller, sealed(header), wait_ms=1)
    assert status.state == operation_pb2.OPERATION_STATE_SCHEDULED
    assert not status.HasField("ending")


async def test_operations_are_listed_by_page_and_side(operation_gateway: RunningGateway) -> None:
    """Newest first, for caller and handler; nothing for others."""
    caller = operation_gateway.client(CALLER)
    ids = []
    for _ in range(3):
        header = request_header()
        ids.append(header.operation_id)
        await start(caller, sealed(header))
    for client, role in (
        (caller, operation_service_pb2.OPERATION_ROLE_CALLER),
        (operation_gateway.client(HANDLER), operation_service_pb2.OPERATION_ROLE_HANDLER),
    ):
        wanted = operation_service_pb2.ListOperationsRequest(role=role, page_size=2)
        page = await client.operations.ListOperations(wanted, metadata=client.metadata)
        assert [shown.operation_id for shown in page.operations] == ids[:0:-1]
        wanted.page_token = page.next_page_token
        rest = await client.operations.ListOperations(wanted, metadata=client.metadata)
        assert [shown.operation_id for shown in rest.operations] == ids[:1]
        assert rest.next_page_token == ""
    stranger = operation_gateway.client("stranger")
    nothing = await stranger.operations.ListOperations(
        operation_service_pb2.ListOperationsRequest(), metadata=stranger.metadata
    )
    assert not nothing.operations


async def audited(gateway: RunningGateway, kind: str) -> list[audit_pb2.AuditEvent]:
    """Return the audit events of a kind."""
    stored = await gateway.store.read(lambda reader: reader.audit_events(AuditFilter(limit=1000)))
    events = [audit_pb2.AuditEvent.FromString(entry.event) for entry in stored]
    return [event for event in events if event.WhichOneof("event") == kind]


async def denials(gateway: RunningGateway) -> int:
    """How many denials are on record."""
    return len(await audited(gateway, "request_denied"))
