"""Evaluation sets: queries whose right answers are known, and how searches did on them."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Float, ForeignKey, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.catalog.activation_tables import Trigger
from service.catalog.tables import Base, named, utc_now


class EvaluationSet(Base):
    """A named list of queries; another list by the same name is its next version."""

    __tablename__ = "evaluation_sets"
    __table_args__ = (UniqueConstraint("name", "version", name="uq_evaluation_sets_name"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    created_by: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class EvaluationQuery(Base):
    """A query and the moment that answers it."""

    __tablename__ = "evaluation_queries"

    set_id: Mapped[UUID] = mapped_column(ForeignKey("evaluation_sets.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(Text)
    video_id: Mapped[UUID] = mapped_column(ForeignKey("videos.id"), index=True)
    start_s: Mapped[float | None] = mapped_column(Float)
    end_s: Mapped[float | None] = mapped_column(Float)


class EvaluationRun(Base):
    """One run of a set against what was searched at that time; its job says how far it is."""

    __tablename__ = "evaluation_runs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    set_id: Mapped[UUID] = mapped_column(ForeignKey("evaluation_sets.id"), index=True)
    generation_id: Mapped[UUID | None] = mapped_column(ForeignKey("generations.id"))
    model_version_id: Mapped[UUID | None] = mapped_column(ForeignKey("model_versions.id"))
    trigger: Mapped[Trigger] = mapped_column(named(Trigger))
    figures: Mapped[dict[str, Any] | None]
    """R@K and the like, by way to search."""
    answers: Mapped[dict[str, Any] | None]
    """The rank of the right moment, by query."""
    created_by: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
