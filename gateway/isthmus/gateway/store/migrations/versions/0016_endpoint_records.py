"""What owners signed about their endpoints.

Revision: 0016. A gateway of schema 0015 that still runs goes on: it does not hold requests to records, which
the ends do anyway.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the column and the table."""
    op.add_column("endpoints", sa.Column("record", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "endpoint_records",
        sa.Column("endpoint", sa.Text, primary_key=True),
        sa.Column("namespace", sa.Text, primary_key=True),
        sa.Column("version", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=False),
        sa.Column("published_at", _NUMBER, nullable=False),
    )
