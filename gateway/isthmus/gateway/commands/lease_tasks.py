"""Lease waiting tasks to a worker session."""

from datetime import datetime

from msgspec.structs import replace

from isthmus.gateway.commands.transition import transition
from isthmus.gateway.core.audit_record import GATEWAY, AuditRecord, TaskDispatched, ref
from isthmus.gateway.core.events import Leased
from isthmus.gateway.core.operation import Operation
from isthmus.gateway.core.value import Value
from isthmus.gateway.ports import EnvelopeSlot, Task, TaskKind, UnitOfWork, WorkerSession


class LeasedTask(Value):
    """A task with everything that its worker needs; ``cancel`` and ``started`` only for a cancel."""

    task: Task
    operation: Operation
    request: bytes
    cancel: bytes | None = None
    started: bytes | None = None


def lease_tasks(
    uow: UnitOfWork, *, session: WorkerSession, limit: int, now: datetime
) -> tuple[LeasedTask, ...]:
    """Lease up to ``limit`` ready tasks of the session's queue, in the order in which they became ready."""
    return tuple(_lease(uow, task, session, now) for task in uow.ready_tasks(session.queue, now, limit))


def _audit_dispatch(uow: UnitOfWork, operation: Operation, session: WorkerSession, now: datetime) -> None:
    """Record that a task went to a session."""
    uow.append_audit(
        AuditRecord(
            occurred_at=now,
            actor=GATEWAY,
            happening=TaskDispatched(
                operation=ref(operation),
                attempt=operation.attempt,
                session_id=session.session_id,
                worker=session.identity,
            ),
        ),
    )


def _lease(uow: UnitOfWork, task: Task, session: WorkerSession, now: datetime) -> LeasedTask:
    operation = uow.operation(task.key)
    request = uow.envelope(task.key, EnvelopeSlot.REQUEST)
    if operation is None or request is None:
        # The schema's foreign keys forbid it: better a loud stop than a task that is silently dropped.
        msg = "a task without its operation"
        raise RuntimeError(msg)
    if task.kind is TaskKind.START:
        operation = transition(uow, operation, Leased(session_id=session.session_id), now)
    else:
        uow.put_task(replace(task, session_id=session.session_id))
    _audit_dispatch(uow, operation, session, now)
    return LeasedTask(
        task=replace(task, session_id=session.session_id, attempt=operation.attempt),
        operation=operation,
        request=request,
        cancel=uow.envelope(task.key, EnvelopeSlot.CANCEL) if operation.cancel_requested else None,
        started=uow.envelope(task.key, EnvelopeSlot.STARTED) if task.kind is TaskKind.CANCEL else None,
    )
