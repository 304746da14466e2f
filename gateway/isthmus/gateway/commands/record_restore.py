"""Put a restore on record: once for the platform, and once for every namespace, whose log shows it, too."""

from collections.abc import Sequence
from datetime import datetime

from isthmus.gateway.core.audit_record import GATEWAY, AuditRecord, StoreRestored
from isthmus.gateway.ports import UnitOfWork
from isthmus.wire.names import NamespaceName


def record_restore(
    uow: UnitOfWork,
    *,
    namespaces: Sequence[NamespaceName],
    taken_at: datetime,
    last_position: int,
    now: datetime,
) -> None:
    """Write the records, in one commit with nothing else.

    Args:
        uow: of the restored store.
        namespaces: all that it knows.
        taken_at: when the backup was taken.
        last_position: place of the last record that was in it.
        now: the time.
    """
    for namespace in ("", *namespaces):
        happening = StoreRestored(namespace=namespace, taken_at=taken_at, last_position=last_position)
        uow.append_audit(AuditRecord(occurred_at=now, actor=GATEWAY, happening=happening))
