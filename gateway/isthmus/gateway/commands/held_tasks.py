"""Open a worker session on a new connection, and find what it holds already."""

from isthmus.gateway.commands.lease_tasks import LeasedTask, with_messages
from isthmus.gateway.commands.worker_sessions import renew_session
from isthmus.gateway.ports import EnvelopeSlot, UnitOfWork, WorkerSession


def open_session(uow: UnitOfWork, session: WorkerSession) -> tuple[LeasedTask, ...]:
    """Open or renew the session and return its tasks, to be delivered again.

    A task may have been leased and never have reached its worker: the connection broke, or the gateway did.
    Leases live as long as the session, so nobody else would ever get it. Workers ignore what they run
    already.

    Raises:
        AccessDeniedError: the id belongs to a session of another queue or principal.
    """
    known = uow.worker_session(session.session_id) is not None
    renew_session(uow, session)
    return held_tasks(uow, session.session_id) if known else ()


def held_tasks(uow: UnitOfWork, session_id: bytes) -> tuple[LeasedTask, ...]:
    """Return the tasks that a session leased, with everything that their worker needs."""
    held = []
    for task in uow.session_tasks(session_id):
        operation = uow.operation(task.key)
        request = uow.envelope(task.key, EnvelopeSlot.REQUEST)
        if operation is None or request is None:
            continue
        held.append(with_messages(uow, task, operation, request))
    return tuple(held)
