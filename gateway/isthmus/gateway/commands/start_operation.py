"""Start an operation, or attach to the one that its id already names."""

from datetime import datetime, timedelta
from enum import Enum

from isthmus.endpoints.endpoint import Endpoint
from isthmus.gateway.commands.lease_tasks import LeasedTask
from isthmus.gateway.commands.transition import perform
from isthmus.gateway.core import machine
from isthmus.gateway.core.audit_record import Actor, AuditRecord, OperationStarted, ref
from isthmus.gateway.core.errors import AlreadyExistsError, ConflictError
from isthmus.gateway.core.operation import Operation, OperationKey, State
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import Task, TaskKind, UnitOfWork, WorkerSession
from isthmus.wire.header import Header


class ReusePolicy(Enum):
    """What a start does when its operation exists."""

    ATTACH = "attach"
    REJECT = "reject"


class StartOperation(Value):
    """A start that was authenticated, authorized and checked against its endpoint.

    ``envelope`` is the sealed request as transmitted, ``digest`` its message digest, ``rule`` what permitted
    it.
    """

    header: Header
    envelope: bytes
    digest: bytes
    endpoint: Endpoint
    actor: Actor
    rule: str
    reuse: ReusePolicy = ReusePolicy.ATTACH


class StartResult(Value):
    """The operation; ``leased`` is the task that went to the offered session in the same commit."""

    operation: Operation
    attached: bool
    leased: LeasedTask | None = None


def start_operation(
    uow: UnitOfWork, request: StartOperation, *, now: datetime, session: WorkerSession | None = None
) -> StartResult:
    """Commit a new operation together with its task and audit record; with a session, already leased to it.

    Raises:
        AlreadyExistsError: it exists and the reuse policy is REJECT.
        ConflictError: it exists and is another call: other target, or other input under the same request id.
    """
    header = request.header
    key = OperationKey(caller=header.sender_namespace, operation_id=header.operation_id)
    existing = uow.operation(key)
    if existing is not None:
        _check_reuse(existing, request)
        return StartResult(operation=existing, attached=True)
    operation, effects = machine.start(
        _new_operation(request, key, now), session_id=None if session is None else session.session_id
    )
    uow.insert_operation(operation, request.envelope)
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
        schedule_to_start_at=_after(now, header.schedule_to_start_timeout_ms),
        start_to_close_timeout=_duration(header.start_to_close_timeout_ms),
        schedule_to_close_at=now + timedelta(milliseconds=header.schedule_to_close_timeout_ms),
        state=State.SCHEDULED,
        state_since=now,
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


def _after(now: datetime, timeout_ms: int) -> datetime | None:
    return now + timedelta(milliseconds=timeout_ms) if timeout_ms else None


def _duration(timeout_ms: int) -> timedelta | None:
    return timedelta(milliseconds=timeout_ms) if timeout_ms else None
