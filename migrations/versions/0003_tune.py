"""Keep tuning runs, their pairs and how they went."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this version."""
    _create_tunings()
    _create_tuning_pairs()
    _create_tuning_points()
    _create_tuning_notices()


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_table("tuning_notices")
    op.drop_table("tuning_points")
    op.drop_table("tuning_pairs")
    op.drop_table("tunings")


def _create_tunings() -> None:
    op.create_table(
        "tunings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("base_version_id", sa.Uuid(), nullable=False),
        sa.Column("policy", sa.String(16), nullable=False),
        sa.Column("request", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("plan", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("report", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("candidate_version_id", sa.Uuid(), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["base_version_id"],
            ["model_versions.id"],
        ),
        sa.ForeignKeyConstraint(
            ["candidate_version_id"],
            ["model_versions.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )


def _create_tuning_pairs() -> None:
    op.create_table(
        "tuning_pairs",
        sa.Column("tuning_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("origin_id", sa.Uuid(), nullable=False),
        sa.Column("video_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("start_s", sa.Float(), nullable=True),
        sa.Column("end_s", sa.Float(), nullable=True),
        sa.Column("is_held_out", sa.Boolean(), nullable=False),
        sa.Column("is_negative", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tuning_id"],
            ["tunings.id"],
        ),
        sa.ForeignKeyConstraint(
            ["video_id"],
            ["videos.id"],
        ),
        sa.PrimaryKeyConstraint("tuning_id", "ordinal"),
    )
    op.create_index("ix_tuning_pairs_origin_id", "tuning_pairs", ["origin_id"])
    op.create_index("ix_tuning_pairs_video_id", "tuning_pairs", ["video_id"])


def _create_tuning_points() -> None:
    op.create_table(
        "tuning_points",
        sa.Column("tuning_id", sa.Uuid(), nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("values", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tuning_id"],
            ["tunings.id"],
        ),
        sa.PrimaryKeyConstraint("tuning_id", "step"),
    )


def _create_tuning_notices() -> None:
    op.create_table(
        "tuning_notices",
        sa.Column("tuning_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tuning_id"],
            ["tunings.id"],
        ),
        sa.PrimaryKeyConstraint("tuning_id", "ordinal"),
    )
