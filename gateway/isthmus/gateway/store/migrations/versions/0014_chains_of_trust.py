"""What vouches for a keyset, beside it: roots, delegation, signatures, renewal.

Revision: 0014. A gateway of schema 0013 that runs goes on: what it writes has no chain, and peers of today do
not believe it. It must not start on this schema: it would relay keysets without what vouches for them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None
oldest_gateway = "0014"


def upgrade() -> None:
    """Add the column."""
    default = sa.text("''")
    op.add_column("keysets", sa.Column("message", sa.LargeBinary(), nullable=False, server_default=default))
