"""Start an operation, or attach to the one that its id already names."""

from datetime import datetime, timedelta
from enum import Enum

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.commands.lease_tasks import LeasedTask, leased_to
from isthmus.gateway.commands.transition import perform
from isthmus.gateway.core import machine
from isthmus.gateway.core.audit_record import Actor, AuditRecord, OperationStarted, ref
from isthmus.gateway.core.errors import (
    AlreadyExistsError,
    ConflictError,
    ExhaustedError,
    PreconditionError,
)
from isthmus.gateway.core.operation import Operation, OperationKey, State
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import StartCounted, Task, TaskKind, UnitOfWork, WorkerSession
from isthmus.wire.header import Header
from isthmus.wire.limits import MAX_CALLER_CONTEXTS

# When an operation ends nobody knows; asking once a second costs little.
RETRY_WHEN_FULL_SECONDS = 1.0
_AT_ONCE = timedelta(0)


class ReusePolicy(Enum):
    """What a start does when its operation exists."""

    ATTACH = "attach"
    REJECT = "reject"


class StartOperation(Value):
    """A start that was authenticated, authorized and checked against its endpoint.

    ``envelope`` is the sealed request as transmitted, ``digest`` its message digest, ``rule`` what permitted
    it, ``context`` what the caller sealed to itself, if anything, ``delay`` how long its start is put off.
    """

    header: Header
    envelope: bytes
    digest: bytes
    endpoint: Endpoint
    actor: Actor
    rule: str
    reuse: ReusePolicy = ReusePolicy.ATTACH
    context: bytes = b""
    delay: timedelta = _AT_ONCE


class StartResult(Value):
    """The operation; ``leased`` is the task that went to the offered session in the same commit."""

    operation: Operation
    attached: bool
    leased: LeasedTask | None = None


def start_operation(
    uow: UnitOfWork,
    request: StartOperation,
    *,
    now: datetime,
    session: WorkerSession | None = None,
    wait_seconds: float = 0.0,
) -> StartResult:
    """Commit a new operation together with its task and audit record; with a session, already leased to it.

    Limits apply to new operations only: whoever attaches asks for nothing more. A refusal is not written
    down: it decides nothing that lasts, and its record would be the load that the limit is to keep away.

    Args:
        uow: the unit of work.
        request: what to start.
        now: the time.
        session: the worker session to lease it to; none, if its start is put off.
        wait_seconds: if its caller starts too many at the moment: how long it has to wait.

    Raises:
        PreconditionError: the endpoint drains, or so many contexts are kept already.
        OperationExpiredError: it existed, and its retention is over.
        ExhaustedError: the caller starts operations too fast, or has too many of them open.
        AlreadyExistsError: it exists and the reuse policy is REJECT.
        ConflictError: it exists and is another call: other target, or other input under the same request id.
    """
    header = request.header
    key = OperationKey(caller=header.sender_namespace, operation_id=header.operation_id)
    existing = uow.operation(key)
    if existing is not None:
        _check_reuse(existing, request)
        if request.context:
            _add_context(uow, key, request.context)
        return StartResult(operation=existing, attached=True)
    identity = uow.identity(key)
    if identity is not None:
        raise identity.expired
    _check_open(request.endpoint)
    _check_limits(uow, request, wait_seconds)
    operation, effects = machine.start(
        _new_operation(request, key, now),
        leased=None if session is None else leased_to(session, request.endpoint),
    )
    uow.insert_operation(operation, request.envelope)
    if request.context:
        uow.put_context(key, 0, request.context)
    uow.append_audit(
        AuditRecord(
            occurred_at=now,
            actor=request.actor,
            happening=OperationStarted(
                operation=ref(operation),
                request_digest=request.digest,
                request_bytes=len(request.envelope),
                rule=request.rule,
                labels=header.labels,
                session_id=b"" if session is None else session.session_id,
                worker="" if session is None else session.identity,
            ),
        ),
    )
    perform(uow, operation, effects, now)
    if request.endpoint.max_operations_per_second:
        uow.signal(
            StartCounted(
                endpoint=operation.endpoint,
                caller=key.caller,
                per_second=request.endpoint.max_operations_per_second,
            )
        )
    if session is None:
        return StartResult(operation=operation, attached=False)
    task = Task(
        key=key,
        kind=TaskKind.START,
        queue=session.queue,
        attempt=operation.attempt,
        ready_at=now,
        session_id=session.session_id,
    )
    leased = LeasedTask(task=task, operation=operation, request=request.envelope)
    return StartResult(operation=operation, attached=False, leased=leased)


def _new_operation(request: StartOperation, key: OperationKey, now: datetime) -> Operation:
    header = request.header
    begins_at = now + request.delay
    return Operation(
        key=key,
        handler=request.endpoint.namespace,
        endpoint=request.endpoint.name,
        service=header.service,
        operation=header.operation,
        task_queue=request.endpoint.task_queue,
        principal=request.actor.principal,
        request_digest=request.digest,
        request_bytes=len(request.envelope),
        fingerprint=header.fingerprint,
        scheduled_at=now,
        schedule_to_start_at=_after(begins_at, header.schedule_to_start_timeout_ms),
        start_to_close_timeout=_duration(header.start_to_close_timeout_ms),
        schedule_to_close_at=now + timedelta(milliseconds=header.schedule_to_close_timeout_ms),
        state=State.SCHEDULED,
        state_since=now,
        next_attempt_at=begins_at if request.delay else None,
    )


def _check_reuse(existing: Operation, request: StartOperation) -> None:
    header = request.header
    # A transport retry sends the same bytes: whatever the policy, it is the same start.
    if existing.request_digest == request.digest:
        return
    same_target = (existing.endpoint, existing.service, existing.operation) == (
        header.endpoint,
        header.service,
        header.operation,
    )
    # Ciphertext differs at every sealing, so only keyed fingerprints can tell whether the input is the same;
    # without them (switched off by the caller) the same id is taken at its word.
    both_fingerprinted = bool(existing.fingerprint and header.fingerprint)
    if not same_target or (both_fingerprinted and existing.fingerprint != header.fingerprint):
        msg = "the id of this start names an operation with another input"
        raise ConflictError(
            msg,
            reason="OPERATION_CONFLICT",
            fix="use another id for another input; switch the fingerprint off if its order is not stable",
        )
    if request.reuse is ReusePolicy.REJECT:
        msg = "an operation with this id exists"
        raise AlreadyExistsError(msg, reason="OPERATION_EXISTS", fix="attach to it, or use another id")


def _add_context(uow: UnitOfWork, key: OperationKey, context: bytes) -> None:
    known = uow.contexts(key)
    # A transport retry sends the same bytes.
    if context in known:
        return
    if len(known) >= MAX_CALLER_CONTEXTS:
        raise PreconditionError(
            f"the operation has {MAX_CALLER_CONTEXTS} contexts already",
            reason="TOO_MANY_CONTEXTS",
            fix="attach to it without one",
        )
    uow.put_context(key, len(known), context)


def _check_open(endpoint: Endpoint) -> None:
    if endpoint.draining_since is not None:
        raise PreconditionError(
            f"{endpoint.name} takes no new operations: it is to be deleted or given away",
            reason="ENDPOINT_DRAINING",
            fix=f"ask {endpoint.namespace} which endpoint replaces it",
        )


def _check_limits(uow: UnitOfWork, request: StartOperation, wait_seconds: float) -> None:
    endpoint, caller = request.endpoint, request.header.sender_namespace
    if wait_seconds:
        most = endpoint.max_operations_per_second
        msg = f"{caller} may start {most} operations a second at {endpoint.name}"
        raise ExhaustedError(
            msg,
            reason="RATE_LIMITED",
            fix=f"start fewer at a time, or ask {endpoint.namespace} for a higher limit",
            retry_after_seconds=wait_seconds,
        )
    most = endpoint.max_open_operations
    if most and uow.count_open_operations_of(endpoint.name, caller) >= most:
        msg = f"{caller} may have {most} operations open at {endpoint.name}"
        raise ExhaustedError(
            msg,
            reason="TOO_MANY_OPEN_OPERATIONS",
            fix=f"wait until some of them have ended, or ask {endpoint.namespace} for a higher limit",
            retry_after_seconds=RETRY_WHEN_FULL_SECONDS,
        )


def _after(now: datetime, timeout_ms: int) -> datetime | None:
    return now + timedelta(milliseconds=timeout_ms) if timeout_ms else None


def _duration(timeout_ms: int) -> timedelta | None:
    return timedelta(milliseconds=timeout_ms) if timeout_ms else None
