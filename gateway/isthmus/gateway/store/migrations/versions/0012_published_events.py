"""Events that owners of endpoints published for others.

Revision: 0012. A gateway of schema 0011 that still runs goes on: the new table is none of its business.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "published_events",
        sa.Column("event_key", sa.Text, primary_key=True),
        sa.Column("reader", sa.Text, nullable=False),
        sa.Column("publisher", sa.Text, nullable=False),
        sa.Column("event_id", sa.LargeBinary, nullable=False),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", _NUMBER, nullable=False),
    )
    op.create_index("published_events_by_expiry", "published_events", ["expires_at"])
