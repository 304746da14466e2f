"""Operations as protobuf messages: the one place where domain values become wire values and back."""

import hashlib
from datetime import UTC, datetime
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from isthmus.gateway.commands.lease_tasks import LeasedTask
from isthmus.gateway.core.operation import AttemptEnd, Operation, State, Statement
from isthmus.gateway.core.waiting import Runner, Waiting, WaitingCause
from isthmus.gateway.ports import TaskInterrupted, TaskKind
from isthmus.v1 import envelope_pb2, operation_pb2, worker_service_pb2

STATES = {
    State.HELD: operation_pb2.OPERATION_STATE_HELD,
    State.SCHEDULED: operation_pb2.OPERATION_STATE_SCHEDULED,
    State.DISPATCHED: operation_pb2.OPERATION_STATE_DISPATCHED,
    State.STARTED: operation_pb2.OPERATION_STATE_STARTED,
    State.PARKED: operation_pb2.OPERATION_STATE_PARKED,
    State.REVIEW: operation_pb2.OPERATION_STATE_REVIEW,
    State.SUCCEEDED: operation_pb2.OPERATION_STATE_SUCCEEDED,
    State.FAILED: operation_pb2.OPERATION_STATE_FAILED,
    State.CANCELED: operation_pb2.OPERATION_STATE_CANCELED,
    State.TIMED_OUT: operation_pb2.OPERATION_STATE_TIMED_OUT,
    State.DENIED: operation_pb2.OPERATION_STATE_DENIED,
}
STATEMENTS = {
    Statement.DENIED: operation_pb2.STATEMENT_KIND_DENIED,
    Statement.CANCELED: operation_pb2.STATEMENT_KIND_CANCELED,
    Statement.TIMED_OUT_SCHEDULE_TO_START: operation_pb2.STATEMENT_KIND_TIMED_OUT_SCHEDULE_TO_START,
    Statement.TIMED_OUT_START_TO_CLOSE: operation_pb2.STATEMENT_KIND_TIMED_OUT_START_TO_CLOSE,
    Statement.TIMED_OUT_SCHEDULE_TO_CLOSE: operation_pb2.STATEMENT_KIND_TIMED_OUT_SCHEDULE_TO_CLOSE,
    Statement.TERMINATED: operation_pb2.STATEMENT_KIND_TERMINATED,
    Statement.EXHAUSTED: operation_pb2.STATEMENT_KIND_EXHAUSTED,
}
WAITING_CAUSES = {
    WaitingCause.NO_POLLER: operation_pb2.WAITING_CAUSE_NO_POLLER,
    WaitingCause.BACKOFF: operation_pb2.WAITING_CAUSE_BACKOFF,
    WaitingCause.REJECTED: operation_pb2.WAITING_CAUSE_REJECTED,
    WaitingCause.RUNNING: operation_pb2.WAITING_CAUSE_RUNNING,
    WaitingCause.HANDLER_ASYNC: operation_pb2.WAITING_CAUSE_HANDLER_ASYNC,
    WaitingCause.APPROVAL: operation_pb2.WAITING_CAUSE_APPROVAL,
    WaitingCause.REVIEW: operation_pb2.WAITING_CAUSE_REVIEW,
    WaitingCause.PARKED: operation_pb2.WAITING_CAUSE_PARKED,
    WaitingCause.KEY_UNAVAILABLE: operation_pb2.WAITING_CAUSE_KEY_UNAVAILABLE,
    WaitingCause.FAIR_SHARE: operation_pb2.WAITING_CAUSE_FAIR_SHARE,
    WaitingCause.CIRCUIT_OPEN: operation_pb2.WAITING_CAUSE_CIRCUIT_OPEN,
    WaitingCause.START_AT: operation_pb2.WAITING_CAUSE_START_AT,
}
ATTEMPT_ENDS = {
    AttemptEnd.FAILED: operation_pb2.ATTEMPT_END_KIND_FAILED,
    AttemptEnd.REJECTED: operation_pb2.ATTEMPT_END_KIND_REJECTED,
    AttemptEnd.LEASE_LOST: operation_pb2.ATTEMPT_END_KIND_LEASE_LOST,
}
TASK_KINDS = {
    TaskKind.START: worker_service_pb2.TASK_KIND_START,
    TaskKind.CANCEL: worker_service_pb2.TASK_KIND_CANCEL,
    TaskKind.SIGNAL: worker_service_pb2.TASK_KIND_SIGNAL,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS = 86_400
_STATE_OF = {wire: state for state, wire in STATES.items()}


def state_from(wire: int) -> State | None:
    """Return the state that a wire value names, None for an unknown one."""
    return _STATE_OF.get(wire)  # type: ignore[call-overload, no-any-return]


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a moment as a timestamp; what is absent stays absent."""
    if moment is None:
        return None
    elapsed = moment - _EPOCH
    return Timestamp(seconds=elapsed.days * _DAY_SECONDS + elapsed.seconds, nanos=elapsed.microseconds * 1000)


def operation_message(
    operation: Operation, waiting: Waiting | None, *, runner: Runner | None = None, pollers: int = 0
) -> operation_pb2.Operation:
    """Return an operation as its two namespaces may see it."""
    message = operation_pb2.Operation(
        caller_namespace=operation.key.caller,
        operation_id=operation.key.operation_id,
        handler_namespace=operation.handler,
        endpoint=operation.endpoint,
        service=operation.service,
        operation=operation.operation,
        task_queue=operation.task_queue,
        principal=operation.principal,
        state=STATES[operation.state],
        attempt=operation.attempt,
        cancel_requested=operation.cancel_requested,
        scheduled_at=timestamp(operation.scheduled_at),
        closed_at=timestamp(operation.closed_at),
        schedule_to_close_at=timestamp(operation.schedule_to_close_at),
        next_attempt_at=timestamp(operation.next_attempt_at),
        request_digest=operation.request_digest,
        outcome_digest=operation.outcome_digest,
        request_bytes=operation.request_bytes,
        outcome_bytes=operation.outcome_bytes,
        last_attempt_error=operation.last_attempt_error,
        attempts_spent=operation.attempts_spent,
        pollers=pollers,
        version=operation.version,
        last_heartbeat_at=timestamp(operation.last_heartbeat_at),
    )
    if operation.last_attempt_end is not None:
        message.last_attempt_end = ATTEMPT_ENDS[operation.last_attempt_end]
    if operation.statement is not None:
        message.statement = STATEMENTS[operation.statement]
    if runner is not None:
        message.worker = runner.worker
        message.lease_expires_at.FromDatetime(runner.lease_expires_at)
    if waiting is not None:
        message.waiting = WAITING_CAUSES[waiting.cause]
        message.waiting_since.FromDatetime(waiting.since)
        message.waiting_until.FromDatetime(waiting.until)
        message.waiting_reason = waiting.reason
    return message


def request_proof(request: bytes) -> envelope_pb2.RequestProof:
    """Return what verifies a request without its body."""
    envelope = envelope_pb2.Envelope.FromString(request)
    return envelope_pb2.RequestProof(
        header=envelope.header,
        signature=envelope.signature,
        body_digest=hashlib.sha256(envelope.body).digest(),
    )


def outcome_proof(outcome: bytes) -> envelope_pb2.OutcomeProof:
    """Return what verifies how an operation ended without its result."""
    envelope = envelope_pb2.Envelope.FromString(outcome)
    return envelope_pb2.OutcomeProof(
        header=envelope.header,
        signature=envelope.signature,
        body_digest=hashlib.sha256(envelope.body).digest(),
    )


class StatementSigner(Protocol):
    """Signs endings that no handler signed."""

    @property
    def key_id(self) -> bytes:
        """Which key it signs with: 16 bytes."""
        ...

    def sign(self, body: bytes) -> bytes:
        """Sign a serialized StatementBody: 64 bytes. The same body always gets the same signature."""
        ...


class Endings:
    """Signs what the gateway itself ended, when somebody asks."""

    def __init__(self, signer: StatementSigner, *, trust_domain: str) -> None:
        self._signer = signer
        self._trust_domain = trust_domain

    def statement(self, operation: Operation, kind: Statement) -> operation_pb2.GatewayStatement:
        """Return the signed statement that the gateway itself ended the operation."""
        decided_at = operation.closed_at or operation.state_since
        body = operation_pb2.StatementBody(
            kind=STATEMENTS[kind],
            trust_domain=self._trust_domain,
            caller_namespace=operation.key.caller,
            operation_id=operation.key.operation_id,
            request_digest=operation.request_digest,
            decided_at_ms=round(decided_at.timestamp() * 1000),
        ).SerializeToString(deterministic=True)
        return operation_pb2.GatewayStatement(
            body=body, key_id=self._signer.key_id, signature=self._signer.sign(body)
        )


def task_message(leased: LeasedTask) -> worker_service_pb2.Task:
    """Return a task as its worker gets it."""
    task = leased.task
    is_cancel = task.kind is TaskKind.CANCEL
    return worker_service_pb2.Task(
        kind=TASK_KINDS[task.kind],
        caller_namespace=task.key.caller,
        operation_id=task.key.operation_id,
        attempt=task.attempt,
        request=leased.request,
        cancel=(leased.cancel or b"") if is_cancel else b"",
        started=leased.started or b"",
        details=leased.details or b"",
        signal=leased.signal or b"",
        scheduled_at=timestamp(leased.operation.scheduled_at),
    )


def interrupt_message(interrupt: TaskInterrupted) -> worker_service_pb2.TaskInterrupt:
    """Return an interrupt as its worker gets it."""
    return worker_service_pb2.TaskInterrupt(
        task=worker_service_pb2.TaskRef(
            caller_namespace=interrupt.key.caller,
            operation_id=interrupt.key.operation_id,
            attempt=interrupt.attempt,
            kind=worker_service_pb2.TASK_KIND_START,
        ),
        cancel=interrupt.cancel or b"",
    )


def interrupt_of(leased: LeasedTask) -> TaskInterrupted | None:
    """Return the interrupt of a task that is delivered again although its caller canceled it meanwhile."""
    task = leased.task
    if task.kind is not TaskKind.START or leased.cancel is None or task.session_id is None:
        return None
    return TaskInterrupted(
        session_id=task.session_id, key=task.key, attempt=task.attempt, cancel=leased.cancel
    )
