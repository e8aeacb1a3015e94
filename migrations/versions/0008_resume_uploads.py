"""Keep uploads that arrive in pieces, and know requests that are repeated."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this version."""
    _create_resumable_uploads()
    _create_upload_parts()
    answered = sa.Column("state", sa.String(length=16), nullable=False, server_default="answered")
    op.add_column("idempotency_keys", answered)
    op.add_column("idempotency_keys", sa.Column("claim", sa.Uuid(), nullable=True))
    lease = sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True)
    op.add_column("idempotency_keys", lease)


def downgrade() -> None:
    """Go back to the version before."""
    with op.batch_alter_table("idempotency_keys") as batch:
        batch.drop_column("lease_until")
        batch.drop_column("claim")
        batch.drop_column("state")
    op.drop_table("upload_parts")
    op.drop_table("resumable_uploads")


def _create_resumable_uploads() -> None:
    op.create_table(
        "resumable_uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("acknowledged", sa.BigInteger(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=True),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("video_id", sa.Uuid(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_resumable_uploads_owner", "resumable_uploads", ["owner"], unique=False)
    op.create_index(
        "ix_resumable_uploads_expires_at", "resumable_uploads", ["expires_at"], unique=False
    )


def _create_upload_parts() -> None:
    op.create_table(
        "upload_parts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("upload_id", sa.Uuid(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["upload_id"], ["resumable_uploads.id"]),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("ix_upload_parts_upload_id", "upload_parts", ["upload_id"], unique=False)
