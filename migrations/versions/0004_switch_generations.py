"""Let one generation take over from another without an outage."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

EMBEDDED_SO_FAR = """
    INSERT INTO generation_videos
        (generation_id, video_id, video_version, num_segments, derived, embedded_at)
    SELECT generation_id, video_id, max(video_version), count(*), NULL, CURRENT_TIMESTAMP
    FROM embeddings GROUP BY generation_id, video_id
"""


def upgrade() -> None:
    """Bring the schema to this version."""
    _create_generation_videos()
    _create_activations()
    _create_replica_reports()
    with op.batch_alter_table("generations") as batch:
        batch.add_column(sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True))
        batch.add_column(sa.Column("kept_until", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("jobs") as batch:
        batch.alter_column("generation_id", existing_type=sa.Uuid(), nullable=True)
    op.execute(EMBEDDED_SO_FAR)


def downgrade() -> None:
    """Go back to the version before."""
    op.execute("DELETE FROM jobs WHERE generation_id IS NULL")
    with op.batch_alter_table("jobs") as batch:
        batch.alter_column("generation_id", existing_type=sa.Uuid(), nullable=False)
    with op.batch_alter_table("generations") as batch:
        batch.drop_column("kept_until")
        batch.drop_column("ready_at")
    op.drop_table("replica_reports")
    op.drop_table("activations")
    op.drop_table("generation_videos")


def _create_generation_videos() -> None:
    op.create_table(
        "generation_videos",
        sa.Column("generation_id", sa.Uuid(), nullable=False),
        sa.Column("video_id", sa.Uuid(), nullable=False),
        sa.Column("video_version", sa.Integer(), nullable=False),
        sa.Column("num_segments", sa.Integer(), nullable=False),
        sa.Column("derived", sa.Text(), nullable=True),
        sa.Column("embedded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["generation_id"],
            ["generations.id"],
        ),
        sa.ForeignKeyConstraint(
            ["video_id"],
            ["videos.id"],
        ),
        sa.PrimaryKeyConstraint("generation_id", "video_id"),
    )
    op.create_index("ix_generation_videos_video_id", "generation_videos", ["video_id"])


def _create_activations() -> None:
    op.create_table(
        "activations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("generation_id", sa.Uuid(), nullable=False),
        sa.Column("from_generation_id", sa.Uuid(), nullable=True),
        sa.Column("trigger", sa.String(16), nullable=False),
        sa.Column("report", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("switched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["from_generation_id"],
            ["generations.id"],
        ),
        sa.ForeignKeyConstraint(
            ["generation_id"],
            ["generations.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_activations_generation_id", "activations", ["generation_id"])


def _create_replica_reports() -> None:
    op.create_table(
        "replica_reports",
        sa.Column("process_id", sa.Uuid(), nullable=False),
        sa.Column("generation_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("is_warm", sa.Boolean(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["generation_id"],
            ["generations.id"],
        ),
        sa.PrimaryKeyConstraint("process_id", "generation_id"),
    )
