"""Limits of each caller at an endpoint, and an index of open operations by endpoint and caller.

Revision: 0003. A gateway of schema 0002 that still runs goes on: the new columns have defaults, and the new
index is the database's own matter.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Add the columns and the index."""
    for name in ("max_operations_per_second", "max_open_operations"):
        op.add_column("endpoints", sa.Column(name, _NUMBER, nullable=False, server_default="0"))
    op.create_index(
        "operations_open_by_caller",
        "operations",
        ["endpoint", "caller"],
        **_where("next_timeout_at IS NOT NULL"),
    )
