"""What a backup must copy, and what a restored database is told."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.orm import Session

from service.catalog import blob_queries
from service.catalog.change_queries import begin_epoch, read_counter
from service.catalog.process_queries import last_run
from service.catalog.tables import Blob, BlobState, Job, JobState, Video, VideoState

RESTORE = "restore"


@dataclass(frozen=True)
class Named:
    """The files that rows name.

    Attributes:
        blobs: size by SHA-256, of the uploaded files of live videos.
        derived: folders of clips and thumbnails.
    """

    blobs: dict[str, int]
    derived: list[str]


def read_position(connection: Connection) -> tuple[str, int]:
    """Return epoch and newest number of the change log."""
    counter = read_counter(Session(connection))
    return counter.epoch, counter.seq


def read_named(connection: Connection) -> Named:
    """Return the files that the rows of a snapshot name."""
    with Session(connection) as session:
        live = select(Blob.sha256, Blob.size_bytes).where(Blob.state == BlobState.LIVE)
        blobs = {sha256: size_bytes for sha256, size_bytes in session.execute(live)}  # noqa: C416
        return Named(blobs=blobs, derived=sorted(blob_queries.named_derived(session)))


def is_blob_live(session: Session, sha256: str) -> bool:
    """Tell whether an uploaded file is still meant to be there."""
    blob = session.get(Blob, sha256)
    return blob is not None and blob.state is BlobState.LIVE


def is_derived_named(session: Session, name: str) -> bool:
    """Tell whether a folder of clips and thumbnails is still meant to be there."""
    return name in blob_queries.named_derived(session)


def is_video_live(session: Session, video_id: UUID) -> bool:
    """Tell whether a video is there, and not deleted."""
    video = session.get(Video, video_id)
    return video is not None and video.state is not VideoState.DELETED


def settle(session: Session) -> None:
    """Make a database that was just loaded one that processes can begin with.

    Nobody works on its jobs any more, and no replica has followed its history from here on.
    """
    session.execute(
        update(Job)
        .where(Job.state == JobState.RUNNING)
        .values(state=JobState.QUEUED, attempts=0, lease_until=None, sent_at=None)
    )
    session.execute(
        update(Video).where(Video.state == VideoState.PROCESSING).values(state=VideoState.QUEUED)
    )
    begin_epoch(session)


def videos_of(session: Session, files: Collection[str]) -> list[UUID]:
    """Return the live videos that uploaded files, or folders of clips, belong to, by name."""
    parts = [name.split("/") for name in files]
    of_blobs = ["".join(rest) for kind, *rest in parts if kind == "blobs"]
    of_derived = [UUID(rest[0]) for kind, *rest in parts if kind == "derived"]
    return list(
        session.scalars(
            select(Video.id).where(
                or_(Video.sha256.in_(of_blobs), Video.id.in_(of_derived)),
                Video.state != VideoState.DELETED,
            )
        )
    )


def restored_from(session: Session) -> str | None:
    """Return the SHA-256 of the dump that this database was loaded from."""
    run = last_run(session, RESTORE)
    return run.result.get("sha256") if run else None
