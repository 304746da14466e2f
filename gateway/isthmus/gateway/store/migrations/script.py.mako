"""${message}

Revision: ${up_revision}, after ${down_revision | comma,n}. A gateway of the revision before that still runs goes on: say why. If it
could not, this is two migrations in two releases, and the second one says ``oldest_gateway = "REVISION"``: the
oldest revision that a gateway has to know to serve the schema after it.
"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the schema to this revision."""
    ${upgrades if upgrades else "pass"}
