"""When an operation's handler last said that it lives.

Revision: 0005. A gateway of schema 0004 that still runs goes on: it neither reads nor writes the new column.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the column."""
    op.add_column("operations", sa.Column("heartbeat_at", _NUMBER))
