"""End operations whose time is over."""

from datetime import datetime

from isthmus.gateway.commands.transition import transition
from isthmus.gateway.core.events import TimeoutElapsed
from isthmus.gateway.core.operation import Operation
from isthmus.gateway.ports import UnitOfWork


def expire_operations(uow: UnitOfWork, *, now: datetime, limit: int) -> tuple[Operation, ...]:
    """End up to ``limit`` overdue operations, longest overdue first; fewer means that none is left."""
    expired = []
    for key in uow.overdue_operations(now, limit):
        operation = uow.operation(key)
        if operation is None or operation.state.is_terminal:
            continue
        timeout, _ = operation.next_timeout
        expired.append(transition(uow, operation, TimeoutElapsed(timeout=timeout), now))
    return tuple(expired)
