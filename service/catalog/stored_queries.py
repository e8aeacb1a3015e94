"""What is stored of searchable videos, and which of them a generation lacks."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from service.catalog.embedding_queries import is_embedded
from service.catalog.index_queries import SEARCHABLE
from service.catalog.tables import Generation, Job, ModelVersion, Segment, Video

UUID_CHARACTERS = 36


@dataclass(frozen=True, kw_only=True)
class StoredSpan:
    """A segment that is there; `position` is the row of its clip in every clip file."""

    ordinal: int
    position: int
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class StoredVideo:
    """A searchable video, and what can be read of it without decoding it again.

    Attributes:
        video_id: which.
        version: of the video.
        sha256: of its file.
        derived: folder of its stored clips, if it has one.
        clip_spec: of the model whose clips those are; None if nobody knows.
        spans: its segments by position.
    """

    video_id: UUID
    version: int
    sha256: str
    derived: str | None
    clip_spec: Mapping[str, Any] | None
    spans: Sequence[StoredSpan]


def missing_videos(
    session: Session, generation_id: UUID, *, after: UUID | None, limit: int
) -> list[StoredVideo]:
    """Return searchable videos that a generation lacks, by id, at most `limit`."""
    wanted = and_(Video.state.in_(SEARCHABLE), ~is_embedded(generation_id))
    if after is not None:
        wanted = and_(wanted, Video.id > after)
    ids = session.scalars(select(Video.id).where(wanted).order_by(Video.id).limit(limit)).all()
    return stored_videos(session, ids)


def is_lacking(session: Session, generation_id: UUID, video_id: UUID) -> bool:
    """Tell whether a video is not embedded in a generation, as it is now."""
    wanted = select(Video.id).where(Video.id == video_id, ~is_embedded(generation_id))
    return session.scalar(wanted) is not None


def stored_videos(session: Session, video_ids: Collection[UUID]) -> list[StoredVideo]:
    """Return those of some videos that are searchable, by id, with what is stored of them."""
    videos = session.execute(
        select(Video.id, Video.version, Video.sha256, Video.derived)
        .where(Video.id.in_(video_ids), Video.state.in_(SEARCHABLE))
        .order_by(Video.id)
    ).all()
    spans: dict[UUID, list[StoredSpan]] = {row.id: [] for row in videos}
    segments = select(
        Segment.video_id, Segment.ordinal, Segment.position, Segment.start_s, Segment.end_s
    ).where(Segment.video_id.in_(spans))
    for row in session.execute(segments.order_by(Segment.position)):
        spans[row.video_id].append(
            StoredSpan(
                ordinal=row.ordinal, position=row.position, start_s=row.start_s, end_s=row.end_s
            )
        )
    jobs = {row.id: _job_of(row.derived) for row in videos if row.derived is not None}
    specs = _specs_of_jobs(session, set(jobs.values()))
    return [
        StoredVideo(
            video_id=row.id,
            version=row.version,
            sha256=row.sha256,
            derived=row.derived,
            clip_spec=specs.get(jobs[row.id]) if row.id in jobs else None,
            spans=spans[row.id],
        )
        for row in videos
    ]


def _job_of(derived: str) -> UUID:
    """Return the job whose attempt made a folder: it is part of the name."""
    return UUID(derived.rsplit("/", 1)[-1][:UUID_CHARACTERS])


def _specs_of_jobs(session: Session, job_ids: Collection[UUID]) -> dict[UUID, Mapping[str, Any]]:
    rows = session.execute(
        select(Job.id, ModelVersion.spec)
        .join(Generation, Generation.id == Job.generation_id)
        .join(ModelVersion, ModelVersion.id == Generation.model_version_id)
        .where(Job.id.in_(job_ids))
    )
    return {row.id: row.spec for row in rows}
