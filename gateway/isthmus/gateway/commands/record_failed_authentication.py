"""Record refused credentials, in aggregate."""

from collections.abc import Sequence
from datetime import datetime

from isthmus.gateway.core.audit_record import GATEWAY, AuditRecord, AuthenticationFailed
from isthmus.gateway.ports import AuditAppended, UnitOfWork


def record_failed_authentications(
    uow: UnitOfWork, failures: Sequence[tuple[datetime, AuthenticationFailed]]
) -> None:
    """Audit refused credentials, counted per second, source and reason: a flood costs few records."""
    for occurred_at, failure in failures:
        uow.append_audit(AuditRecord(occurred_at=occurred_at, actor=GATEWAY, happening=failure))
    if failures:
        uow.signal(AuditAppended())
