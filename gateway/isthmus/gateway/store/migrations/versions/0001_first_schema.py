"""The first schema.

Revision: 0001. What each column means is said in ``isthmus.gateway.store.schema``; a revision is never
changed once it is released.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None
# A gateway that knows this revision serves every later schema, until a migration names a later one here.
oldest_gateway = "0001"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Create everything."""
    _create_operations()
    _create_tasks()
    _create_registry()
    _create_audit_log()
    _create_meta()


def _create_operations() -> None:
    op.create_table(
        "operations",
        sa.Column("position", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("operation_id", sa.LargeBinary(), nullable=False),
        sa.Column("handler", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("task_queue", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("request_bytes", _NUMBER, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("scheduled_at", _NUMBER, nullable=False),
        sa.Column("schedule_to_start_at", _NUMBER, nullable=True),
        sa.Column("start_to_close_timeout", _NUMBER, nullable=True),
        sa.Column("schedule_to_close_at", _NUMBER, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_since", _NUMBER, nullable=False),
        sa.Column("attempt", _NUMBER, nullable=False),
        sa.Column("attempts_spent", _NUMBER, nullable=False),
        sa.Column("session_id", sa.LargeBinary(), nullable=True),
        sa.Column("first_dispatched_at", _NUMBER, nullable=True),
        sa.Column("next_attempt_at", _NUMBER, nullable=True),
        sa.Column("last_attempt_end", sa.Text(), nullable=True),
        sa.Column("last_attempt_error", sa.Text(), nullable=False),
        sa.Column("cancel_requested", _NUMBER, nullable=False),
        sa.Column("closed_at", _NUMBER, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("outcome_digest", sa.LargeBinary(), nullable=False),
        sa.Column("outcome_bytes", _NUMBER, nullable=False),
        sa.Column("statement", sa.Text(), nullable=True),
        sa.Column("next_timeout_at", _NUMBER, nullable=True),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_index("operations_by_caller", "operations", ["caller", "position"])
    op.create_index("operations_by_endpoint", "operations", ["endpoint", "position"])
    op.create_index("operations_by_handler", "operations", ["handler", "position"])
    op.create_index("operations_by_id", "operations", ["operation_id", "caller"], unique=True)
    op.create_index(
        "operations_by_timeout", "operations", ["next_timeout_at"], **_where("next_timeout_at IS NOT NULL")
    )
    op.create_index(
        "operations_open_by_endpoint", "operations", ["endpoint"], **_where("next_timeout_at IS NOT NULL")
    )
    op.create_table(
        "envelopes",
        sa.Column("envelope_id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("envelope_id"),
    )


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("task_id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("operation_id", sa.LargeBinary(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("task_queue", sa.Text(), nullable=False),
        sa.Column("attempt", _NUMBER, nullable=False),
        sa.Column("ready_at", _NUMBER, nullable=False),
        sa.Column("session_id", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("task_id"),
    )
    op.create_index("tasks_leased", "tasks", ["session_id", "task_id"], **_where("session_id IS NOT NULL"))
    op.create_index(
        "tasks_waiting",
        "tasks",
        ["namespace", "task_queue", "ready_at", "task_id"],
        **_where("session_id IS NULL"),
    )
    op.create_table(
        "worker_sessions",
        sa.Column("session_id", sa.LargeBinary(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("task_queue", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("expires_at", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("session_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("worker_sessions_by_expiry", "worker_sessions", ["expires_at", "session_id"])


def _create_registry() -> None:
    op.create_table(
        "namespaces",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "endpoints",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("task_queue", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("allow_rules", sa.Text(), nullable=False),
        sa.Column("retry_initial_interval", _NUMBER, nullable=False),
        sa.Column("retry_max_interval", _NUMBER, nullable=False),
        sa.Column("retry_max_attempts", _NUMBER, nullable=False),
        sa.Column("retry_park_when_exhausted", _NUMBER, nullable=False),
        sa.Column("max_payload_bytes", _NUMBER, nullable=False),
        sa.Column("max_schedule_to_close", _NUMBER, nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("created_at", _NUMBER, nullable=False),
        sa.Column("updated_at", _NUMBER, nullable=False),
        sa.Column("deleted_at", _NUMBER, nullable=True),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.create_index("endpoints_current", "endpoints", ["name"], **_where("deleted_at IS NULL"))
    op.create_index(
        "endpoints_current_by_namespace", "endpoints", ["namespace", "name"], **_where("deleted_at IS NULL")
    )
    op.create_table(
        "keysets",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("version", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("keyset", sa.LargeBinary(), nullable=False),
        sa.Column("root_public_key", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("published_at", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("namespace", "version"),
    )


def _create_audit_log() -> None:
    op.create_table(
        "audit_events",
        sa.Column("position", _NUMBER, nullable=False),
        sa.Column("recorded_at", _NUMBER, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("handler", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("operation", _NUMBER, nullable=True),
        sa.Column("operation_id", sa.LargeBinary(), nullable=True),
        sa.Column("event", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "audit_events_by_actor",
        "audit_events",
        ["actor", "position"],
        **_where("actor != '' AND actor != caller AND actor != handler"),
    )
    op.create_index(
        "audit_events_by_caller", "audit_events", ["caller", "position"], **_where("caller != ''")
    )
    op.create_index(
        "audit_events_by_endpoint", "audit_events", ["endpoint", "position"], **_where("endpoint != ''")
    )
    op.create_index(
        "audit_events_by_handler",
        "audit_events",
        ["handler", "position"],
        **_where("handler != '' AND handler != caller"),
    )
    op.create_index(
        "audit_events_by_operation",
        "audit_events",
        ["operation", "position"],
        **_where("operation IS NOT NULL"),
    )
    op.create_index(
        "audit_events_by_operation_id",
        "audit_events",
        ["operation_id", "position"],
        **_where("operation_id IS NOT NULL"),
    )
    op.create_index("audit_events_by_time", "audit_events", ["recorded_at", "position"])


def _create_meta() -> None:
    op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
