"""Open, renew and lose worker sessions. Leases live exactly as long as their session."""

from collections.abc import Callable
from datetime import datetime, timedelta

from isthmus.gateway.commands.end_attempt import FailedAttempt, end_attempt, retry_delivery
from isthmus.gateway.core.audit_record import Actor
from isthmus.gateway.core.errors import AccessDeniedError
from isthmus.gateway.core.operation import AttemptEnd
from isthmus.gateway.ports import TaskKind, UnitOfWork, WorkerSession

LEASE_LOST = "LEASE_LOST"


def renew_session(uow: UnitOfWork, session: WorkerSession) -> None:
    """Open a session, or extend the life of the one with this id.

    Raises:
        AccessDeniedError: the id belongs to a session of another queue or principal.
    """
    existing = uow.worker_session(session.session_id)
    if existing is not None and (existing.queue, existing.principal) != (session.queue, session.principal):
        msg = "this session id belongs to another worker"
        raise AccessDeniedError(
            msg, reason="SESSION_TAKEN", fix="draw a random session id for each worker process"
        )
    uow.put_worker_session(session)


def lose_sessions(
    uow: UnitOfWork, *, now: datetime, limit: int, jitter: Callable[[], float]
) -> tuple[WorkerSession, ...]:
    """Forget up to ``limit`` sessions whose lease ran out; their tasks go back into the queue."""
    lost = tuple(uow.expired_sessions(now, limit))
    for session in lost:
        close_session(uow, session, now=now, jitter=jitter)
    return lost


def close_session(
    uow: UnitOfWork, session: WorkerSession, *, now: datetime, jitter: Callable[[], float]
) -> None:
    """Forget a session and give its tasks back."""
    actor = Actor(namespace=session.queue.namespace)
    for task in uow.session_tasks(session.session_id):
        if task.kind is not TaskKind.START:
            retry_delivery(uow, task.key, task.kind, actor, now=now, delay=timedelta(0))
            continue
        failed = FailedAttempt(
            key=task.key, attempt=task.attempt, end=AttemptEnd.LEASE_LOST, error=LEASE_LOST, actor=actor
        )
        end_attempt(uow, failed, now=now, jitter=jitter())
    uow.remove_worker_session(session.session_id)
