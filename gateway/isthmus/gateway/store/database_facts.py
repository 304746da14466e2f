"""What a database says of itself, for comparing a copy with it."""

from dataclasses import dataclass

from isthmus.gateway.store.driver import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """Its schema, the end of its log, and how many operations are open."""

    schema: str
    last_audit_position: int
    open_operations: int


def read_facts(connection: Connection) -> DatabaseFacts:
    """Return what the database behind a connection says, in the transaction that is open."""
    (schema,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
    (last,) = connection.execute("SELECT coalesce(max(position), 0) FROM audit_events").fetchone()
    (open_operations,) = connection.execute(
        "SELECT count(*) FROM operations WHERE next_timeout_at IS NOT NULL"
    ).fetchone()
    return DatabaseFacts(schema=schema, last_audit_position=last, open_operations=open_operations)
