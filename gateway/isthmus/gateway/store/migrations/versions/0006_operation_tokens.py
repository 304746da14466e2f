"""Operations that finish later are found by their tokens.

Revision: 0006. A gateway of schema 0005 that still runs goes on: it does not know the new table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "operation_tokens",
        sa.Column("position", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("handler", sa.Text, nullable=False),
        sa.Column("token_key", sa.LargeBinary, nullable=False),
    )
    op.create_index("operation_tokens_by_key", "operation_tokens", ["handler", "token_key"])
