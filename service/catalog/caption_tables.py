"""What people say of videos: captions, and feedback on what a search found."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Float, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.catalog.tables import Base, named, utc_now


class CaptionSource(StrEnum):
    """Where a caption came from."""

    TYPED = "typed"
    IMPORTED = "imported"


class Verdict(StrEnum):
    """What a person said of a hit."""

    RIGHT = "right"
    WRONG = "wrong"
    INSTEAD = "instead"
    """Wrong, and another moment is what was meant."""


class Caption(Base):
    """A sentence that describes a video, or a span of it."""

    __tablename__ = "captions"
    __table_args__ = (Index("ix_captions_listing", "created_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    video_id: Mapped[UUID] = mapped_column(ForeignKey("videos.id"), index=True)
    text: Mapped[str] = mapped_column(Text)
    start_s: Mapped[float | None] = mapped_column(Float)
    end_s: Mapped[float | None] = mapped_column(Float)
    """Both None: the whole video."""
    source: Mapped[CaptionSource] = mapped_column(named(CaptionSource))
    created_by: Mapped[UUID | None]
    """The API key that brought it."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Feedback(Base):
    """What a person said of one hit of a search."""

    __tablename__ = "feedback"
    __table_args__ = (Index("ix_feedback_listing", "created_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    text: Mapped[str] = mapped_column(Text)
    """The query."""
    verdict: Mapped[Verdict] = mapped_column(named(Verdict))
    video_id: Mapped[UUID] = mapped_column(ForeignKey("videos.id"), index=True)
    start_s: Mapped[float | None] = mapped_column(Float)
    end_s: Mapped[float | None] = mapped_column(Float)
    instead_video_id: Mapped[UUID | None] = mapped_column(ForeignKey("videos.id"), index=True)
    instead_start_s: Mapped[float | None] = mapped_column(Float)
    instead_end_s: Mapped[float | None] = mapped_column(Float)
    receipt: Mapped[dict[str, Any]]
    """Of the answer that showed the hit."""
    created_by: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
