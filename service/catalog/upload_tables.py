"""Uploads that arrive in pieces, and may be resumed."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.catalog.tables import Base, named, utc_now


class UploadState(StrEnum):
    """Where a resumable upload stands."""

    OPEN = "open"
    ACCEPTED = "accepted"
    """All of it came and is a video now."""
    REFUSED = "refused"


class ResumableUpload(Base):
    """One upload in pieces; an acknowledged offset names bytes that are durable."""

    __tablename__ = "resumable_uploads"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    owner: Mapped[str] = mapped_column(String(64), index=True)
    state: Mapped[UploadState] = mapped_column(named(UploadState), default=UploadState.OPEN)
    length: Mapped[int] = mapped_column(BigInteger)
    """Bytes of the whole file."""
    offset: Mapped[int] = mapped_column("acknowledged", BigInteger, default=0)
    """Bytes that are durable."""
    file_name: Mapped[str | None] = mapped_column(Text)
    request: Mapped[dict[str, Any]]
    """What the sender says about the video, and the metadata header as it came."""
    video_id: Mapped[UUID | None] = mapped_column(ForeignKey("videos.id"))
    job_id: Mapped[UUID | None]
    reason: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class UploadPart(Base):
    """A piece of an upload that is durable, and counted in the offset."""

    __tablename__ = "upload_parts"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    """Where its bytes lie."""
    upload_id: Mapped[UUID] = mapped_column(ForeignKey("resumable_uploads.id"), index=True)
    start: Mapped[int] = mapped_column(BigInteger)
    """Offset of its first byte."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
