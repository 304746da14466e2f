"""Turns of callers: an index of what waits by caller, and the weights of an endpoint.

Revision: 0002. A gateway of schema 0001 that still runs goes on: it names the columns that it reads and
writes, the new one has a default, and the new index is the database's own matter.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Add the index and the column; neither rewrites a table."""
    op.create_index(
        "tasks_waiting_by_caller",
        "tasks",
        ["namespace", "task_queue", "caller", "ready_at", "task_id"],
        **_where("session_id IS NULL"),
    )
    op.add_column("endpoints", sa.Column("fair_weights", sa.Text(), nullable=False, server_default="[]"))
