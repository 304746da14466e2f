"""Record that somebody was refused."""

from datetime import datetime

from isthmus.gateway.core.audit_record import Actor, AuditRecord, RequestDenied
from isthmus.gateway.ports import AuditAppended, UnitOfWork


def record_denial(uow: UnitOfWork, denied: RequestDenied, *, actor: Actor, now: datetime) -> None:
    """Audit a denial; the request itself changed nothing."""
    uow.append_audit(AuditRecord(occurred_at=now, actor=actor, happening=denied))
    uow.signal(AuditAppended())
