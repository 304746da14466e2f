"""Which processes of a namespace live, and which keys they have at hand.

Revision: 0015. A gateway of schema 0014 that still runs goes on: the new table is none of its business.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "key_holders",
        sa.Column("holder_key", sa.Text, primary_key=True),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("holder_id", sa.LargeBinary, nullable=False),
        sa.Column("principal", sa.Text, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("key_ids", sa.LargeBinary, nullable=False),
        sa.Column("reported_at", _NUMBER, nullable=False),
        sa.Column("alive_until", _NUMBER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("key_holders_by_namespace", "key_holders", ["namespace", "holder_id"])
    op.create_index("key_holders_by_end", "key_holders", ["alive_until"])
