"""End an attempt that brought no outcome: it is repeated, parked or, by the endpoint's choice, final."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from isthmus.endpoints.endpoint import CircuitSettings, Endpoint, RetrySettings
from isthmus.gateway.commands.circuits import note_failed_probe
from isthmus.gateway.commands.record_outcome import handled_operation
from isthmus.gateway.commands.transition import transition
from isthmus.gateway.core import audit_record
from isthmus.gateway.core.audit_record import GATEWAY, Actor, AuditRecord, ref
from isthmus.gateway.core.errors import PreconditionError
from isthmus.gateway.core.events import AttemptEnded, TaskReturned
from isthmus.gateway.core.operation import AttemptEnd, Operation, OperationKey, State
from isthmus.gateway.core.retry import RetryPolicy
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import AttemptFailed, EnvelopeSlot, TaskKind, TasksReady, UnitOfWork


class FailedAttempt(Value):
    """An attempt without an outcome. ``failure`` is the sealed failure, when the handler made one.

    If this was the last attempt and the endpoint ends exhausted operations, that failure becomes the outcome.
    """

    key: OperationKey
    attempt: int
    end: AttemptEnd
    error: str
    actor: Actor
    failure: bytes = b""
    failure_digest: bytes = b""
    min_delay: timedelta = timedelta(0)


def end_attempt(uow: UnitOfWork, failed: FailedAttempt, *, now: datetime, jitter: float) -> Operation:
    """End the attempt by its endpoint's retry policy. ``jitter`` is drawn from [0, 1).

    Raises:
        NotFoundError: there is no such operation, or another namespace handles it.
        PreconditionError: the attempt is over already.
    """
    operation = handled_operation(uow, failed.key, failed.actor.namespace)
    check_current(operation, failed.attempt)
    endpoint = uow.endpoint(operation.endpoint)
    policy = _policy(endpoint)
    event = AttemptEnded(
        attempt=failed.attempt,
        end=failed.end,
        error=failed.error,
        policy=policy,
        jitter=jitter,
        min_delay=failed.min_delay,
        failure_digest=failed.failure_digest,
        failure_bytes=len(failed.failure),
    )
    if failed.failure:
        is_final = policy.is_exhausted(operation.attempts_spent) and not policy.park_when_exhausted
        slot = EnvelopeSlot.OUTCOME if is_final else EnvelopeSlot.LAST_FAILURE
        uow.put_envelope(operation.key, slot, failed.failure)
    after = transition(uow, operation, event, now, failed.actor)
    _audit(uow, after, failed, now)
    circuit = CircuitSettings(failures=0) if endpoint is None else endpoint.circuit
    note_failed_probe(uow, after, failed.error, open_for=circuit.open_for, now=now)
    uow.signal(
        AttemptFailed(operation=after, end=failed.end, error=failed.error, opens_after=circuit.failures)
    )
    return after


def return_task(
    uow: UnitOfWork, key: OperationKey, attempt: int, actor: Actor, *, now: datetime
) -> Operation:
    """Take back a task that a worker did not run, without counting an attempt.

    Raises:
        NotFoundError, PreconditionError: as end_attempt.
    """
    operation = handled_operation(uow, key, actor.namespace)
    check_current(operation, attempt)
    return transition(uow, operation, TaskReturned(attempt=attempt), now, actor)


def cancel_delivered(uow: UnitOfWork, key: OperationKey, actor: Actor) -> Operation:
    """Remove the cancel task that the handler took. Repeating it changes nothing.

    Raises:
        NotFoundError: there is no such operation, or another namespace handles it.
    """
    operation = handled_operation(uow, key, actor.namespace)
    uow.remove_task(key, TaskKind.CANCEL)
    return operation


def signal_delivered(
    uow: UnitOfWork, key: OperationKey, number: int, actor: Actor, *, now: datetime
) -> Operation:
    """Go on to the next signal, if there is one: the handler took this one. Repeating it changes nothing.

    Raises:
        NotFoundError: there is no such operation, or another namespace handles it.
    """
    operation = handled_operation(uow, key, actor.namespace)
    task = uow.task(key, TaskKind.SIGNAL)
    if task is None or task.attempt != number:
        return operation
    if number < operation.signals:
        uow.put_task(replace(task, session_id=None, attempt=number + 1, ready_at=now))
        uow.signal(TasksReady(queue=task.queue, ready_at=now))
    else:
        uow.remove_task(key, TaskKind.SIGNAL)
    return operation


def retry_delivery(
    uow: UnitOfWork, key: OperationKey, kind: TaskKind, actor: Actor, *, now: datetime, delay: timedelta
) -> Operation:
    """Offer a cancel or signal task again after a delay: its delivery failed or its session is lost.

    Raises:
        NotFoundError: there is no such operation, or another namespace handles it.
    """
    operation = handled_operation(uow, key, actor.namespace)
    task = uow.task(key, kind)
    if task is not None and operation.state is State.STARTED:
        ready_at = now + delay
        uow.put_task(replace(task, session_id=None, ready_at=ready_at))
        uow.signal(TasksReady(queue=task.queue, ready_at=ready_at))
    return operation


def check_current(operation: Operation, attempt: int) -> None:
    """Check that an attempt is the one under way. Raises PreconditionError."""
    if operation.state is not State.DISPATCHED or operation.attempt != attempt:
        msg = f"attempt {attempt} is over; the operation is {operation.state.value}"
        raise PreconditionError(
            msg, reason="ATTEMPT_OVER", fix="nothing: the task is no longer this worker's"
        )


def _policy(endpoint: Endpoint | None) -> RetryPolicy:
    settings = RetrySettings() if endpoint is None else endpoint.retry
    return RetryPolicy(
        initial_interval=settings.initial_interval,
        max_interval=settings.max_interval,
        max_attempts=settings.max_attempts,
        park_when_exhausted=settings.park_when_exhausted,
    )


def _audit(uow: UnitOfWork, operation: Operation, failed: FailedAttempt, now: datetime) -> None:
    uow.append_audit(
        AuditRecord(
            occurred_at=now,
            actor=GATEWAY if failed.end is AttemptEnd.LEASE_LOST else failed.actor,
            happening=audit_record.AttemptEnded(
                operation=ref(operation),
                attempt=failed.attempt,
                cause=failed.end.value,
                error_type=failed.error,
                next_attempt_at=operation.next_attempt_at,
            ),
        ),
    )
