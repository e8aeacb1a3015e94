"""Tuning: what was asked, which pairs it used, how it went, what came out."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Float, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.catalog.tables import Base, named, utc_now


class PairOrigin(StrEnum):
    """What a pair was made from."""

    CAPTION = "caption"
    FEEDBACK = "feedback"


class Policy(StrEnum):
    """Whether a candidate is activated by itself."""

    MANUAL = "manual"
    IF_NOT_WORSE = "if_not_worse"
    IF_BETTER = "if_better"


class Tuning(Base):
    """One tuning run; its job says how far it is."""

    __tablename__ = "tunings"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    base_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_versions.id"))
    policy: Mapped[Policy] = mapped_column(named(Policy))
    request: Mapped[dict[str, Any]]
    """What was asked, with the defaults filled in."""
    plan: Mapped[dict[str, Any] | None]
    """What was decided from the pairs: steps, batch, how many of each."""
    report: Mapped[dict[str, Any] | None]
    candidate_version_id: Mapped[UUID | None] = mapped_column(ForeignKey("model_versions.id"))
    created_by: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class TuningPair(Base):
    """One pair of a run, with where it came from; gone with its caption, feedback or video."""

    __tablename__ = "tuning_pairs"

    tuning_id: Mapped[UUID] = mapped_column(ForeignKey("tunings.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    origin: Mapped[PairOrigin] = mapped_column(named(PairOrigin))
    origin_id: Mapped[UUID] = mapped_column(index=True)
    video_id: Mapped[UUID] = mapped_column(ForeignKey("videos.id"), index=True)
    text: Mapped[str] = mapped_column(Text)
    start_s: Mapped[float | None] = mapped_column(Float)
    end_s: Mapped[float | None] = mapped_column(Float)
    is_held_out: Mapped[bool]
    is_negative: Mapped[bool]
    """The text does not describe the clip: somebody said so."""


class TuningPoint(Base):
    """The losses of a step; of every so many steps one is kept."""

    __tablename__ = "tuning_points"

    tuning_id: Mapped[UUID] = mapped_column(ForeignKey("tunings.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    values: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class TuningNotice(Base):
    """Something that a person should know of a run, as that a batch did not fit into memory."""

    __tablename__ = "tuning_notices"

    tuning_id: Mapped[UUID] = mapped_column(ForeignKey("tunings.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    reason: Mapped[str] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
