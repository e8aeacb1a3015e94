"""Uploads that arrive in pieces: what came, what is missing, what became of them."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from service.catalog.clock import database_time
from service.catalog.upload_tables import ResumableUpload, UploadPart, UploadState
from service.errors import NotFoundError


def add_upload(session: Session, *, keep_s: float, **values: Any) -> ResumableUpload:
    """Keep a new upload, of which nothing came yet, for so long."""
    upload = ResumableUpload(expires_at=database_time(keep_s), **values)
    session.add(upload)
    session.flush()
    session.refresh(upload)
    return upload


def num_open(session: Session, owner: str) -> int:
    """Return how many uploads an owner has begun and not ended."""
    return int(session.execute(select(func.count()).where(*_open_of(owner))).scalar_one())


def announced_bytes(session: Session, owner: str) -> int:
    """Return how large the files are that an owner has begun to upload and not ended."""
    total = select(func.coalesce(func.sum(ResumableUpload.length), 0)).where(*_open_of(owner))
    return int(session.execute(total).scalar_one())


def _open_of(owner: str) -> tuple[ColumnElement[bool], ...]:
    return (
        ResumableUpload.owner == owner,
        ResumableUpload.state == UploadState.OPEN,
        ResumableUpload.expires_at > database_time(),
    )


def get_upload(session: Session, upload_id: UUID, *, lock: bool = False) -> ResumableUpload:
    """Return an upload.

    Raises:
        NotFoundError: there is none, or it has expired.
    """
    query = select(ResumableUpload, ResumableUpload.expires_at > database_time()).where(
        ResumableUpload.id == upload_id
    )
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    row = session.execute(query).one_or_none()
    if row is None:
        raise NotFoundError(f"There is no upload {upload_id}.")
    upload, is_kept = row
    if not is_kept:
        raise NotFoundError(
            "This upload stood still for too long. Begin a new one.", reason="upload_expired"
        )
    return upload


def add_part(session: Session, upload: ResumableUpload, part: UploadPart, *, keep_s: float) -> None:
    """Count a piece that is durable, and keep the upload for so long from now on."""
    session.add(part)
    upload.offset += part.size_bytes
    upload.expires_at = database_time(keep_s)
    session.flush()
    session.refresh(upload)


def num_parts(session: Session, upload_id: UUID) -> int:
    """Return how many pieces an upload has."""
    count = select(func.count()).where(UploadPart.upload_id == upload_id)
    return int(session.execute(count).scalar_one())


def parts_of(session: Session, upload_id: UUID) -> list[UploadPart]:
    """Return the pieces of an upload, in order."""
    return list(
        session.scalars(
            select(UploadPart).where(UploadPart.upload_id == upload_id).order_by(UploadPart.start)
        )
    )


def forget_parts(session: Session, upload_id: UUID) -> None:
    """Remove the rows of pieces that are gone."""
    session.execute(delete(UploadPart).where(UploadPart.upload_id == upload_id))


def forget_upload(session: Session, upload_id: UUID) -> None:
    """Remove the row of an upload whose pieces are gone."""
    session.execute(delete(ResumableUpload).where(ResumableUpload.id == upload_id))


def expired_uploads(session: Session, *, limit: int) -> list[UUID]:
    """Return uploads whose time is over."""
    return list(
        session.scalars(
            select(ResumableUpload.id)
            .where(ResumableUpload.expires_at <= database_time())
            .order_by(ResumableUpload.expires_at)
            .limit(limit)
        )
    )


def close_expired(session: Session, upload_id: UUID) -> bool:
    """Let no piece come any more; False: it is gone, or goes on after all."""
    upload = session.scalar(
        select(ResumableUpload)
        .where(ResumableUpload.id == upload_id, ResumableUpload.expires_at <= database_time())
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if upload is None:
        return False
    if upload.state is UploadState.OPEN:
        upload.state = UploadState.REFUSED
    return True


def known_parts(session: Session) -> set[str]:
    """Return where the bytes of all pieces lie."""
    return set(session.scalars(select(UploadPart.name)))
