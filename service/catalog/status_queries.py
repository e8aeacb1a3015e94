"""What status pages, metrics and event streams read: counts, ages, the newest jobs."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, literal, select
from sqlalchemy.orm import Session

from service.catalog.tables import Blob, BlobState, Job, JobState, Video, VideoState

SHOWN = (VideoState.READY, VideoState.PARTIAL)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much there is.

    Attributes:
        videos: number by state; deleted ones are not counted.
        jobs: number by state.
        segments: of searchable videos.
        blob_bytes: size of all files.
        oldest_queued_at: when the job that waits longest was made.
    """

    videos: dict[str, int]
    jobs: dict[str, int]
    segments: int
    blob_bytes: int
    oldest_queued_at: datetime | None


def ping(session: Session) -> None:
    """Make sure that the database answers."""
    session.execute(select(literal(1)))


def count_everything(session: Session) -> Counts:
    """Count videos, jobs and segments."""
    videos = session.execute(
        select(Video.state, func.count())
        .where(Video.state != VideoState.DELETED)
        .group_by(Video.state)
    )
    jobs = session.execute(select(Job.state, func.count()).group_by(Job.state))
    return Counts(
        videos=dict.fromkeys((str(one) for one in VideoState if one != VideoState.DELETED), 0)
        | {str(state): number for state, number in videos},
        jobs=dict.fromkeys(map(str, JobState), 0) | {str(state): number for state, number in jobs},
        segments=session.scalar(
            select(func.coalesce(func.sum(Video.num_segments), 0)).where(Video.state.in_(SHOWN))
        )
        or 0,
        blob_bytes=session.scalar(
            select(func.coalesce(func.sum(Blob.size_bytes), 0)).where(Blob.state == BlobState.LIVE)
        )
        or 0,
        oldest_queued_at=session.scalar(
            select(func.min(Job.created_at)).where(Job.state == JobState.QUEUED)
        ),
    )


def jobs_by_id(session: Session, job_ids: Collection[UUID]) -> list[Job]:
    """Return those of the jobs that exist."""
    return list(session.scalars(select(Job).where(Job.id.in_(job_ids))))


def newest_jobs(session: Session, *, limit: int, state: JobState | None = None) -> list[Job]:
    """Return the jobs made last, newest first, of one state or of all."""
    found: list[Job] = []
    for one in [state] if state else JobState:  # an index has those of each state in their order
        newest = select(Job).where(Job.state == one).order_by(Job.created_at.desc(), Job.id)
        found += session.scalars(newest.limit(limit))
    found.sort(key=lambda job: job.id)
    found.sort(key=lambda job: job.created_at, reverse=True)
    return found[:limit]
