"""Places of operations that several gateways draw on PostgreSQL; nothing on SQLite.

Revision: 0013. A gateway of schema 0012 that still runs knows SQLite only, where nothing changes.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the sequence."""
    if op.get_context().dialect.name == "postgresql":
        op.execute("CREATE SEQUENCE operation_positions AS bigint")
