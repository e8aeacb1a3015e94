"""Videos as they are listed and shown."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, insert, select, tuple_
from sqlalchemy.orm import Session

from service.catalog.tables import Blob, Job, JobState, Video, VideoState, VideoTag

DONE = (VideoState.READY, VideoState.PARTIAL)


@dataclass(frozen=True, kw_only=True)
class VideoRecord:
    """A video with all that is shown of it.

    Attributes:
        video: its row.
        size_bytes: size of its file.
        tags: sorted.
        job: its latest job, if it has one.
    """

    video: Video
    size_bytes: int
    tags: tuple[str, ...]
    job: Job | None

    @property
    def percent(self) -> float:
        """How far its ingest is, 0 to 100."""
        if self.video.state in DONE:
            return 100.0
        if self.job is None or self.job.state is JobState.QUEUED:
            return 0.0
        return round(100 * self.job.progress, 1)


def find_video(session: Session, video_id: UUID) -> VideoRecord | None:
    """Return a video that is not deleted."""
    statement = select(Video, Blob.size_bytes).join(Blob, Blob.sha256 == Video.sha256)
    row = session.execute(
        statement.where(Video.id == video_id, Video.state != VideoState.DELETED)
    ).one_or_none()
    return None if row is None else _complete(session, [(row[0], row[1])])[0]


def list_videos(
    session: Session,
    *,
    states: Collection[VideoState],
    tags: Collection[str],
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[VideoRecord]:
    """Return videos that are not deleted, newest first, in a number of statements that is fixed.

    Args:
        session: any session.
        states: only these; empty: all but deleted.
        tags: only videos with all of these.
        before: (created_at, id) of the last video of the page before.
        limit: how many at most.
    """
    statement = select(Video, Blob.size_bytes).join(Blob, Blob.sha256 == Video.sha256)
    statement = statement.where(Video.state != VideoState.DELETED)
    if states:
        statement = statement.where(Video.state.in_(states))
    for tag in set(tags):
        having = select(VideoTag.video_id).where(VideoTag.tag == tag)
        statement = statement.where(Video.id.in_(having))
    if before is not None:
        statement = statement.where(tuple_(Video.created_at, Video.id) < tuple_(*before))
    statement = statement.order_by(Video.created_at.desc(), Video.id.desc()).limit(limit)
    return _complete(session, [(row[0], row[1]) for row in session.execute(statement)])


def find_live_by_content(session: Session, sha256: str) -> Video | None:
    """Return the video with this content that is not deleted, without a lock."""
    return session.scalar(
        select(Video).where(Video.sha256 == sha256, Video.state != VideoState.DELETED)
    )


def latest_jobs(session: Session, video_ids: Collection[UUID]) -> dict[UUID, Job]:
    """Return the newest job of each video."""
    jobs = session.scalars(
        select(Job)
        .where(Job.subject_id.in_(video_ids))
        .order_by(Job.version, Job.created_at, Job.id)
    )
    return {job.subject_id: job for job in jobs}


def replace_tags(session: Session, video_id: UUID, tags: Iterable[str]) -> None:
    """Give a video these tags and no others."""
    session.execute(delete(VideoTag).where(VideoTag.video_id == video_id))
    rows = [{"video_id": video_id, "tag": tag} for tag in tags]
    if rows:
        session.execute(insert(VideoTag), rows)


def _complete(session: Session, found: Sequence[tuple[Video, int]]) -> list[VideoRecord]:
    ids = [video.id for video, _size in found]
    jobs = latest_jobs(session, ids)
    tags: dict[UUID, list[str]] = {}
    statement = select(VideoTag).where(VideoTag.video_id.in_(ids)).order_by(VideoTag.tag)
    for row in session.scalars(statement):
        tags.setdefault(row.video_id, []).append(row.tag)
    return [
        VideoRecord(
            video=video,
            size_bytes=size,
            tags=tuple(tags.get(video.id, ())),
            job=jobs.get(video.id),
        )
        for video, size in found
    ]
