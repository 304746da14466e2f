"""One step of an operation's life, written down: operation, tasks, and who is told after the commit."""

from datetime import datetime
from typing import assert_never

from msgspec.structs import replace

from isthmus.gateway.core import machine
from isthmus.gateway.core.audit_record import GATEWAY, Actor, AuditRecord, OperationEnded, ref
from isthmus.gateway.core.effects import (
    CloseOperation,
    Effect,
    EnqueueCancelTask,
    EnqueueSignalTask,
    EnqueueTask,
    InterruptTask,
    LeaseTask,
    RemoveTasks,
)
from isthmus.gateway.core.events import Event
from isthmus.gateway.core.operation import Operation
from isthmus.gateway.ports import (
    EnvelopeSlot,
    OperationClosed,
    QueueKey,
    Task,
    TaskInterrupted,
    TaskKind,
    TasksReady,
    UnitOfWork,
)


def transition(
    uow: UnitOfWork, operation: Operation, event: Event, now: datetime, actor: Actor = GATEWAY
) -> Operation:
    """Apply an event to an operation and write down what follows from it.

    If that ends the operation, the ending is audited here, in the name of the actor.

    Raises:
        IllegalEventError: nothing is written.
    """
    after, effects = machine.apply(operation, event, now)
    if after is not operation:
        uow.update_operation(after)
    perform(uow, after, effects, now, actor=actor)
    return after


def perform(
    uow: UnitOfWork,
    operation: Operation,
    effects: tuple[Effect, ...],
    now: datetime,
    *,
    actor: Actor = GATEWAY,
    outcome: bytes | None = None,
) -> None:
    """Write down the effects of a step; ``outcome`` is what the handler answered, if that made the step."""
    for effect in effects:
        match effect:
            case EnqueueTask(ready_at=ready_at):
                _put(uow, operation, TaskKind.START, ready_at)
            case EnqueueCancelTask():
                _put(uow, operation, TaskKind.CANCEL, now)
            case EnqueueSignalTask(number=number):
                _put_signal_task(uow, operation, number, now)
            case LeaseTask(session_id=session_id):
                uow.put_task(_task(operation, TaskKind.START, now, session_id))
            case RemoveTasks():
                uow.remove_task(operation.key, TaskKind.START)
                if operation.cancel_requested:
                    uow.remove_task(operation.key, TaskKind.CANCEL)
                if operation.signals:
                    uow.remove_task(operation.key, TaskKind.SIGNAL)
            case InterruptTask(session_id=session_id, attempt=attempt):
                cancel = None
                if operation.cancel_requested:
                    cancel = uow.envelope(operation.key, EnvelopeSlot.CANCEL)
                uow.signal(
                    TaskInterrupted(session_id=session_id, key=operation.key, attempt=attempt, cancel=cancel)
                )
            case CloseOperation(reason=reason):
                _audit_end(uow, operation, now, actor, reason)
                _tell_waiters(uow, operation, outcome)
            case _:
                assert_never(effect)


def queue_of(operation: Operation) -> QueueKey:
    """Return the queue that the operation's tasks wait in."""
    return QueueKey(namespace=operation.handler, task_queue=operation.task_queue)


def _task(operation: Operation, kind: TaskKind, ready_at: datetime, session_id: bytes | None = None) -> Task:
    return Task(
        key=operation.key,
        kind=kind,
        queue=queue_of(operation),
        attempt=operation.attempt,
        ready_at=ready_at,
        session_id=session_id,
    )


def _put(uow: UnitOfWork, operation: Operation, kind: TaskKind, ready_at: datetime) -> None:
    uow.put_task(_task(operation, kind, ready_at))
    uow.signal(TasksReady(queue=queue_of(operation), ready_at=ready_at))


def _put_signal_task(uow: UnitOfWork, operation: Operation, number: int, now: datetime) -> None:
    """Hand over a signal, unless one before it is still being handed over: then it follows."""
    if uow.task(operation.key, TaskKind.SIGNAL) is None:
        uow.put_task(replace(_task(operation, TaskKind.SIGNAL, now), attempt=number))
        uow.signal(TasksReady(queue=queue_of(operation), ready_at=now))


def _audit_end(uow: UnitOfWork, operation: Operation, now: datetime, actor: Actor, reason: str) -> None:
    uow.append_audit(
        AuditRecord(
            occurred_at=now,
            actor=actor,
            happening=OperationEnded(
                operation=ref(operation),
                state=operation.state,
                request_digest=operation.request_digest,
                outcome_digest=operation.outcome_digest if operation.statement is None else b"",
                outcome_bytes=operation.outcome_bytes if operation.statement is None else 0,
                statement=operation.statement,
                attempts=operation.attempt,
                reason=reason,
            ),
        ),
    )


def _tell_waiters(uow: UnitOfWork, operation: Operation, outcome: bytes | None) -> None:
    if outcome is not None:
        uow.signal(OperationClosed(operation=operation, outcome=outcome, is_answered=True))
        return
    if operation.statement is None:
        outcome = uow.envelope(operation.key, EnvelopeSlot.OUTCOME)
    uow.signal(OperationClosed(operation=operation, outcome=outcome))
