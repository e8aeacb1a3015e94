"""${message}.

A migration must suit the code that is already running: it runs before the new processes start.
Add columns as nullable or with a server default; drop a column one release after its last reader.
Use only types of sqlalchemy here, never the classes of service.catalog.tables: those move on.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Bring the schema to this version."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Go back to the version before."""
    ${downgrades if downgrades else "pass"}
