"""How far the consumers of a namespace's feed are.

Revision: 0009. A gateway of schema 0008 that still runs goes on: the new table is none of its business.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "cursors",
        sa.Column("cursor_id", sa.Text, primary_key=True),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("kinds", sa.Text, nullable=False),
        sa.Column("position", _NUMBER, nullable=False),
        sa.Column("created_at", _NUMBER, nullable=False),
        sa.Column("acknowledged_at", _NUMBER),
        sqlite_with_rowid=False,
    )
    op.create_index("cursors_by_namespace", "cursors", ["namespace", "name"])
