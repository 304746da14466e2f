"""Delete the payloads of operations whose retention is over; forget, long afterwards, that they existed."""

from datetime import datetime

from isthmus.gateway.core.audit_record import GATEWAY, AuditRecord, OperationsExpired
from isthmus.gateway.core.identity import IDENTITY_LIFE
from isthmus.gateway.ports import Retired, UnitOfWork


def retire_operations(uow: UnitOfWork, endpoint_name: str, *, now: datetime, limit: int) -> Retired:
    """Retire what an endpoint keeps longer than its retention, the oldest first.

    ``limit`` bounds the work, counted in audit records that are looked at.
    """
    endpoint = uow.endpoint(endpoint_name)
    if endpoint is None:
        return Retired(operations=0, more=False)
    closed_until = now - endpoint.retention
    retired = uow.retire_operations(endpoint_name, closed_until=closed_until, limit=limit)
    if retired.operations:
        uow.append_audit(
            AuditRecord(
                occurred_at=now,
                actor=GATEWAY,
                happening=OperationsExpired(
                    endpoint=endpoint.name,
                    namespace=endpoint.namespace,
                    operations=retired.operations,
                    closed_until=closed_until,
                ),
            )
        )
    return retired


def forget_identities(uow: UnitOfWork, *, now: datetime, limit: int) -> int:
    """Forget operations that ended so long ago that their ids may be used again; return how many."""
    return uow.forget_identities(closed_until=now - IDENTITY_LIFE, limit=limit)
