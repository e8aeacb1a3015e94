"""Uploaded files: live, or condemned when no video needs them, and gone after a grace time."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import exists, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.catalog.activation_tables import GenerationVideo
from service.catalog.clock import database_time
from service.catalog.tables import Blob, BlobState, Video, VideoState


def insert_of(session: Session) -> Callable[..., Any]:
    """Return the INSERT of the database that knows ON CONFLICT; both spell it alike."""
    is_postgresql = session.get_bind().dialect.name == "postgresql"
    return postgresql.insert if is_postgresql else sqlite.insert


def make_blob_live(session: Session, sha256: str, size_bytes: int) -> None:
    """Write or revive the row of a file, and keep it locked until the commit."""
    live = {"size_bytes": size_bytes, "state": BlobState.LIVE, "condemned_at": None}
    session.execute(
        insert_of(session)(Blob)
        .values(sha256=sha256, **live)
        .on_conflict_do_update(index_elements=[Blob.sha256], set_=live)
    )


def known_blobs(session: Session) -> dict[str, BlobState]:
    """Return the state of every file that was ever cataloged."""
    rows = session.execute(select(Blob.sha256, Blob.state))
    return {row.sha256: row.state for row in rows}


def condemn_stray(session: Session, sha256: str, size_bytes: int) -> None:
    """Catalog a file that no row names as condemned, so that its row can be locked.

    Harmless if an upload was quicker: then the row is there, and live.
    """
    condemned = {
        "size_bytes": size_bytes,
        "state": BlobState.CONDEMNED,
        "condemned_at": database_time(),
    }
    session.execute(
        insert_of(session)(Blob)
        .values(sha256=sha256, **condemned)
        .on_conflict_do_update(
            index_elements=[Blob.sha256], set_=condemned, where=Blob.state == BlobState.GONE
        )
    )


def condemned_blobs(session: Session, *, older_than_s: float) -> list[str]:
    """Return the files that were condemned so long ago."""
    return list(
        session.scalars(
            select(Blob.sha256).where(
                Blob.state == BlobState.CONDEMNED,
                Blob.condemned_at < database_time(-older_than_s),
            )
        )
    )


def lock_condemned(session: Session, sha256: str, *, older_than_s: float) -> bool:
    """Lock a file's row and say whether it is still condemned, and of no live video."""
    of_live_video = exists().where(Video.sha256 == Blob.sha256, Video.state != VideoState.DELETED)
    locked = session.scalar(
        select(Blob.sha256)
        .where(
            Blob.sha256 == sha256,
            Blob.state == BlobState.CONDEMNED,
            Blob.condemned_at < database_time(-older_than_s),
            ~of_live_video,
        )
        .with_for_update()
    )
    return locked is not None


def mark_gone(session: Session, sha256: str) -> None:
    """Remember that a file was unlinked."""
    session.execute(
        update(Blob).where(Blob.sha256 == sha256).values(state=BlobState.GONE, condemned_at=None)
    )


def named_derived(session: Session) -> set[str]:
    """Return the folders of clips and thumbnails that a live video or a generation names."""
    of_videos = select(Video.derived).where(
        Video.derived.is_not(None), Video.state != VideoState.DELETED
    )
    of_generations = select(GenerationVideo.derived).where(GenerationVideo.derived.is_not(None))
    return {name for name in session.scalars(of_videos.union(of_generations)) if name}
