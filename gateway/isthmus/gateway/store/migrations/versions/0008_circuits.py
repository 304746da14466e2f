"""Circuits: when an endpoint's open, and those that are.

Revision: 0008. A gateway of schema 0007 that still runs goes on: the new columns have defaults, and it knows
nothing of the new table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns and the table."""
    for name, default in (("circuit_failures", "10"), ("circuit_open_for", "30000000")):
        op.add_column("endpoints", sa.Column(name, _NUMBER, nullable=False, server_default=default))
    op.create_table(
        "circuits",
        sa.Column("circuit_id", sa.Text(), primary_key=True),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("task_queue", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("handler", sa.Text(), nullable=False),
        sa.Column("since", _NUMBER, nullable=False),
        sa.Column("until", _NUMBER, nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("probe_caller", sa.Text(), nullable=False),
        sa.Column("probe_operation_id", sa.LargeBinary()),
        sa.Column("probe_attempt", _NUMBER, nullable=False),
        sqlite_with_rowid=False,
    )
