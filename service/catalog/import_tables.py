"""Imports: videos that are fetched, from an address, a folder or a bucket."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.catalog.tables import Base, named, utc_now


class ImportKind(StrEnum):
    """Where the videos are."""

    URLS = "urls"
    FOLDER = "folder"
    BUCKET = "bucket"


class ItemState(StrEnum):
    """What became of one thing to import."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


class Import(Base):
    """One request to fetch videos; its job says how far it is."""

    __tablename__ = "imports"
    __table_args__ = (Index("ix_imports_listing", "created_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    kind: Mapped[ImportKind] = mapped_column(named(ImportKind))
    request: Mapped[dict[str, Any]]
    """What was asked; no secret."""
    owner: Mapped[str] = mapped_column(String(64))
    is_listed: Mapped[bool] = mapped_column(default=False)
    """Whether every item is known: a folder or a bucket is read first."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ImportItem(Base):
    """One file of an import."""

    __tablename__ = "import_items"

    import_id: Mapped[UUID] = mapped_column(ForeignKey("imports.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    source: Mapped[str] = mapped_column(Text)
    """Its address, or its path below the folder or bucket; without what may be secret of it
    (the query) as soon as it is not needed any more."""
    said: Mapped[dict[str, Any] | None]
    """What is said about the video: title, tags, fields."""
    state: Mapped[ItemState] = mapped_column(named(ItemState), default=ItemState.WAITING)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    video_id: Mapped[UUID | None] = mapped_column(ForeignKey("videos.id"))
    reason: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None] = mapped_column(Text)
