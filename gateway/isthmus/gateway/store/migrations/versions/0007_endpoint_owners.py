"""Endpoints that drain, and endpoints that are offered to another namespace.

Revision: 0007. A gateway of schema 0006 that still runs goes on: the new columns have defaults. It starts
operations at endpoints that drain.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns and the index."""
    op.add_column("endpoints", sa.Column("draining_since", _NUMBER))
    op.add_column("endpoints", sa.Column("offered_to", sa.Text, nullable=False, server_default=""))
    condition = sa.text("draining_since IS NOT NULL AND deleted_at IS NULL")
    op.create_index(
        "endpoints_draining", "endpoints", ["name"], sqlite_where=condition, postgresql_where=condition
    )
