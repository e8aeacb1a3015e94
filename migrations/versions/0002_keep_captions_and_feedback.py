"""Keep captions, and feedback on what a search found."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this version."""
    _create_captions()
    _create_feedback()


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_table("feedback")
    op.drop_table("captions")


def _create_captions() -> None:
    op.create_table(
        "captions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("video_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("start_s", sa.Float(), nullable=True),
        sa.Column("end_s", sa.Float(), nullable=True),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["video_id"],
            ["videos.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_captions_listing", "captions", ["created_at", "id"])
    op.create_index("ix_captions_video_id", "captions", ["video_id"])


def _create_feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("video_id", sa.Uuid(), nullable=False),
        sa.Column("start_s", sa.Float(), nullable=True),
        sa.Column("end_s", sa.Float(), nullable=True),
        sa.Column("instead_video_id", sa.Uuid(), nullable=True),
        sa.Column("instead_start_s", sa.Float(), nullable=True),
        sa.Column("instead_end_s", sa.Float(), nullable=True),
        sa.Column("receipt", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["instead_video_id"],
            ["videos.id"],
        ),
        sa.ForeignKeyConstraint(
            ["video_id"],
            ["videos.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_feedback_instead_video_id", "feedback", ["instead_video_id"])
    op.create_index("ix_feedback_listing", "feedback", ["created_at", "id"])
    op.create_index("ix_feedback_video_id", "feedback", ["video_id"])
