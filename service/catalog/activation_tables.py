"""Switching: which generation has which videos, and how one model took over from another."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.catalog.tables import Base, named, utc_now


class Trigger(StrEnum):
    """Who wanted it."""

    PERSON = "person"
    POLICY = "policy"
    COMMAND = "command"
    SWITCH = "switch"
    TUNING = "tuning"


class GenerationVideo(Base):
    """That a video was embedded in a generation; written and removed with its embeddings."""

    __tablename__ = "generation_videos"

    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id"), primary_key=True)
    video_id: Mapped[UUID] = mapped_column(ForeignKey("videos.id"), primary_key=True, index=True)
    video_version: Mapped[int]
    num_segments: Mapped[int]
    derived: Mapped[str | None] = mapped_column(Text)
    """Folder of clips that were decoded for this generation; None: those of the video fit."""
    embedded_at: Mapped[datetime] = mapped_column(default=utc_now)


class Activation(Base):
    """One model taking over from another; its job says how far it is."""

    __tablename__ = "activations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id"), index=True)
    from_generation_id: Mapped[UUID | None] = mapped_column(ForeignKey("generations.id"))
    trigger: Mapped[Trigger] = mapped_column(named(Trigger))
    report: Mapped[dict[str, Any] | None]
    """Canary and shadow search."""
    switched_at: Mapped[datetime | None]
    created_by: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ReplicaReport(Base):
    """How far the replica of one API process is in a generation that will take over."""

    __tablename__ = "replica_reports"

    process_id: Mapped[UUID] = mapped_column(primary_key=True)
    generation_id: Mapped[UUID] = mapped_column(ForeignKey("generations.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    is_warm: Mapped[bool]
    seen_at: Mapped[datetime]
    """By the clock of the database."""
