"""How many signals an operation has, and how large they are together.

Revision: 0011. A gateway of schema 0010 that runs goes on: it does not write the new columns, and they have
defaults. It does not know the tasks that hand signals to handlers, though, and must not lease any: none that
old may start on this schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
oldest_gateway = "0011"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns."""
    for name in ("signals", "signal_bytes"):
        op.add_column("operations", sa.Column(name, _NUMBER, nullable=False, server_default="0"))
