"""Make, move and forget cursors of a namespace's feed."""

from datetime import datetime

from isthmus.gateway.core.audit_record import Actor, AuditRecord, CursorChanged
from isthmus.gateway.core.errors import (
    AlreadyExistsError,
    ExhaustedError,
    NotFoundError,
    PreconditionError,
)
from isthmus.gateway.core.feed import Cursor
from isthmus.gateway.ports import UnitOfWork

MOST_CURSORS = 100


def create_cursor(uow: UnitOfWork, cursor: Cursor, *, actor: Actor, now: datetime) -> Cursor:
    """Make a cursor; one that exists and wants the same entries is the answer, wherever it is.

    Raises:
        AlreadyExistsError: it exists, and wants other entries.
        ExhaustedError: the namespace has too many.
    """
    existing = uow.cursor(cursor.namespace, cursor.name)
    if existing is not None:
        if (existing.endpoint, existing.kinds) != (cursor.endpoint, cursor.kinds):
            raise AlreadyExistsError(
                f"the cursor {cursor.name} exists and wants other entries",
                reason="CURSOR_EXISTS",
                fix="use another name, or delete the cursor first",
            )
        return existing
    if uow.count_cursors(cursor.namespace) >= MOST_CURSORS:
        raise ExhaustedError(
            f"{cursor.namespace} has {MOST_CURSORS} cursors already",
            reason="TOO_MANY_CURSORS",
            fix="delete those that nobody uses: isthmus completions list",
        )
    uow.put_cursor(cursor)
    _record(uow, cursor, "created", actor, now)
    return cursor


def delete_cursor(uow: UnitOfWork, namespace: str, name: str, *, actor: Actor, now: datetime) -> None:
    """Forget a cursor.

    Raises:
        NotFoundError: the namespace has no such cursor.
    """
    cursor = uow.cursor(namespace, name)
    if cursor is None:
        raise cursor_not_found(name)
    uow.remove_cursor(namespace, name)
    _record(uow, cursor, "deleted", actor, now)


def acknowledge(
    uow: UnitOfWork, namespace: str, name: str, position: int, *, last_position: int, now: datetime
) -> Cursor:
    """Move a cursor forward to a position, which is not beyond the end of the log. It never moves back.

    There is no audit record of it: nothing happened to anybody but its consumer.

    Raises:
        NotFoundError: the namespace has no such cursor.
        PreconditionError: the log does not reach that far.
    """
    cursor = uow.cursor(namespace, name)
    if cursor is None:
        raise cursor_not_found(name)
    if position > last_position:
        raise beyond_the_log()
    moved = cursor.moved(position, now)
    if moved is not cursor:
        uow.put_cursor(moved)
    return moved


def cursor_not_found(name: str) -> NotFoundError:
    """Return what is raised when a namespace has no such cursor."""
    return NotFoundError(
        f"there is no cursor {name}", reason="CURSOR_NOT_FOUND", fix="make it with CreateCursor"
    )


def beyond_the_log() -> PreconditionError:
    """Return what is raised for a position that the log does not have, or not any more."""
    return PreconditionError(
        "the log ends before this position",
        reason="BEYOND_THE_LOG",
        fix="begin again at the position of the cursor",
    )


def _record(uow: UnitOfWork, cursor: Cursor, change: str, actor: Actor, now: datetime) -> None:
    changed = CursorChanged(namespace=cursor.namespace, cursor=cursor.name, change=change)
    uow.append_audit(AuditRecord(occurred_at=now, actor=actor, happening=changed))
