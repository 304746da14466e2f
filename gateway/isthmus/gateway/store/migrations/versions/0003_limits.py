"""Limits of each caller at an endpoint, and an index of open operations by endpoint and caller.

Revision: 0003. A gateway of schema 0002 that still runs goes on: the new columns have defaults, and the index
by endpoint becomes one by endpoint and caller under the same name, which serves its queries as well.
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
    """Add the columns and widen the index."""
    for name in ("max_operations_per_second", "max_open_operations"):
        op.add_column("endpoints", sa.Column(name, _NUMBER, nullable=False, server_default="0"))
    op.drop_index("operations_open_by_endpoint", "operations")
    op.create_index(
        "operations_open_by_endpoint",
        "operations",
        ["endpoint", "caller"],
        **_where("next_timeout_at IS NOT NULL"),
    )
