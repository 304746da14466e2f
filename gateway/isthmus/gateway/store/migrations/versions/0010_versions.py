"""Versions of workers: what an endpoint says of them, which one began an operation, and who is there.

Revision: 0010. A gateway of schema 0009 that still runs goes on: the new columns have defaults, and what it
leases belongs to no version.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Add the columns and the indexes."""
    op.add_column("operations", sa.Column("version", sa.Text(), nullable=False, server_default=""))
    op.add_column("endpoints", sa.Column("versions", sa.Text(), nullable=False, server_default=""))
    op.create_index("endpoints_routed", "endpoints", ["name"], **_where("versions != ''"))
    op.create_index("worker_sessions_by_queue", "worker_sessions", ["namespace", "task_queue", "version"])
