"""Let webhooks rest that take nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this version."""
    failures = sa.Column("failures", sa.Integer(), server_default="0", nullable=False)
    op.add_column("webhooks", failures)
    for name in ("failing_since", "rests_until"):
        op.add_column("webhooks", sa.Column(name, sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Go back to the version before."""
    # not in a batch, which makes the table anew: on SQLite messages refer to it
    for name in ("rests_until", "failing_since", "failures"):
        op.drop_column("webhooks", name)
