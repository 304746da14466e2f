"""How long an endpoint keeps payloads, what stays of operations, and how far a log was gone through.

Revision: 0004. A gateway of schema 0003 that still runs goes on: the new column has a default, and the new
tables are none of its business.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the column and the tables."""
    op.add_column(
        "endpoints", sa.Column("retention", _NUMBER, nullable=False, server_default="2592000000000")
    )
    op.create_table(
        "identities",
        sa.Column("position", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("operation_id", sa.LargeBinary, nullable=False),
        sa.Column("handler", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("request_digest", sa.LargeBinary, nullable=False),
        sa.Column("outcome_digest", sa.LargeBinary, nullable=False),
        sa.Column("closed_at", _NUMBER, nullable=False),
    )
    op.create_index("identities_by_id", "identities", ["operation_id", "caller"], unique=True)
    op.create_index("identities_by_end", "identities", ["closed_at"])
    op.create_table(
        "retention_marks",
        sa.Column("endpoint", sa.Text, primary_key=True),
        sa.Column("position", _NUMBER, nullable=False),
        sqlite_with_rowid=False,
    )
