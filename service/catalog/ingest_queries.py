"""What an ingest writes, in one fenced transaction, and what a delete takes away in one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from service.catalog.activation_tables import GenerationVideo
from service.catalog.caption_queries import forget_pairs_of_video
from service.catalog.change_queries import append_change
from service.catalog.clock import database_time
from service.catalog.embedding_queries import (
    EmbeddedVideo,
    add_embed_jobs,
    checked_vectors,
    replace_embeddings,
    share_generations,
)
from service.catalog.job_queries import OPEN, LostLeaseError, lock_jobs_of, lock_own_job
from service.catalog.tables import (
    Blob,
    BlobState,
    ChangeOp,
    Embedding,
    Generation,
    GenerationState,
    Job,
    JobState,
    Segment,
    Video,
    VideoState,
    utc_now,
)
from service.catalog.webhook_queries import announce_video
from service.errors import NotFoundError


class MediaFacts(Protocol):
    """What a probe found out about a file."""

    @property
    def container(self) -> str: ...
    @property
    def codec(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def duration_s(self) -> float: ...
    @property
    def frame_rate(self) -> float | None: ...


@dataclass(frozen=True, kw_only=True)
class IngestedSegment:
    """One segment that could be decoded.

    Attributes:
        ordinal: its place in the cut; those that could not be decoded are missing.
        start_s: first moment, seconds.
        end_s: end, exclusive, seconds.
        thumbnail_offset: where its JPEG starts in the thumbnail file.
        thumbnail_bytes: length of the JPEG.
    """

    ordinal: int
    start_s: float
    end_s: float
    thumbnail_offset: int
    thumbnail_bytes: int


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """Everything that one ingest job found out.

    Attributes:
        segments: N segments by ordinal; row i of the clip file is that of segments[i].
        vectors: their embeddings, unit norm, float (N, E).
        derived: folder of clips and thumbnails, as `DerivedDraft.publish` returned it.
        is_partial: a part of the file could not be decoded.
        report: the decode report, to be kept as JSON.
        reason: machine-readable reason if it is partial.
        detail: a sentence for a person if it is partial.
        facts: what the probe found, if it is known better than at the upload.
    """

    segments: Sequence[IngestedSegment]
    vectors: np.ndarray
    derived: str
    is_partial: bool = False
    report: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    detail: str | None = None
    facts: MediaFacts | None = None


@dataclass(frozen=True, kw_only=True)
class Committed:
    """What the commit of an ingest leaves to do.

    Attributes:
        seq: number of its line in the change log.
        embed_jobs: jobs that embed the video in the other generations; send them.
    """

    seq: int
    embed_jobs: Sequence[UUID]


def commit_ingest(session: Session, job_id: UUID, fence: int, ingested: Ingested) -> Committed:
    """Write what an ingest found: the video becomes searchable when the transaction commits.

    The job names the video, its version and the generation. Other generations that are built or
    kept get a job each that embeds it there. Nothing may be done in the transaction after this.

    Raises:
        LostLeaseError: the job is not this worker's any more, or the video was deleted or
            queued again; nothing may be committed.
        ValueError: the embeddings are not N finite unit vectors.
    """
    checked_vectors(ingested.vectors, len(ingested.segments))
    generations = share_generations(session)
    job = lock_own_job(session, job_id, fence)
    searched = {one.id for one in generations if one.state is GenerationState.ACTIVE}
    if job.generation_id not in searched:
        raise LostLeaseError(f"generation {job.generation_id} is not searched any more")
    video = _lock_current_video(session, job)
    _replace_segments(session, video.id, ingested.segments)
    replace_embeddings(session, job.generation_id, _embedded(video, ingested))
    _describe(video, ingested)
    embed_jobs = add_embed_jobs(session, video, generations, but=job.generation_id)
    job.state, job.progress, job.stage = JobState.DONE, 1.0, None
    job.reason, job.detail, job.lease_until = ingested.reason, ingested.detail, None
    session.flush()
    session.execute(update(Job).where(Job.id == job.id).values(finished_at=database_time()))
    announce_video(session, video)
    seq = append_change(
        session,
        ChangeOp.UPSERT,
        video_id=video.id,
        video_version=video.version,
        generation_id=job.generation_id,
    )
    return Committed(seq=seq, embed_jobs=embed_jobs)


def delete_video(session: Session, video_id: UUID) -> int:
    """Take a video away: no search that starts after the commit returns it.

    Its file is condemned and unlinked later, unless the same content is uploaded again.

    Returns:
        The number of its line in the change log.

    Raises:
        NotFoundError: there is no such video, or it is deleted already.
    """
    lock_jobs_of(session, video_id)
    video = lock_video(session, video_id)
    session.execute(
        update(Job)
        .where(Job.subject_id == video_id, Job.state.in_(OPEN))
        .values(state=JobState.CANCELLED, lease_until=None, finished_at=database_time())
    )
    # named with their generations, as their keys begin, or all embeddings would be read
    every_generation = select(Generation.id)
    session.execute(
        delete(Embedding).where(
            Embedding.generation_id.in_(every_generation), Embedding.video_id == video_id
        )
    )
    session.execute(delete(GenerationVideo).where(GenerationVideo.video_id == video_id))
    session.execute(delete(Segment).where(Segment.video_id == video_id))
    forget_pairs_of_video(session, video_id)
    session.execute(
        update(Blob)
        .where(Blob.sha256 == video.sha256)
        .values(state=BlobState.CONDEMNED, condemned_at=database_time())
    )
    video.state, video.version = VideoState.DELETED, video.version + 1
    video.derived, video.num_segments = None, 0
    video.deleted_at = video.updated_at = utc_now()
    announce_video(session, video)
    return append_change(session, ChangeOp.DELETE, video_id=video_id, video_version=video.version)


def lock_video(session: Session, video_id: UUID) -> Video:
    """Lock a video that is not deleted.

    Raises:
        NotFoundError: there is no such video, or it is deleted.
    """
    video = session.scalar(
        select(Video)
        .where(Video.id == video_id, Video.state != VideoState.DELETED)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if video is None:
        raise NotFoundError(f"There is no video {video_id}.")
    return video


def _lock_current_video(session: Session, job: Job) -> Video:
    try:
        video = lock_video(session, job.subject_id)
    except NotFoundError as error:
        raise LostLeaseError(f"video {job.subject_id} was deleted") from error
    if video.version != job.version:
        raise LostLeaseError(f"video {video.id} has version {video.version}, not {job.version}")
    return video


def _embedded(video: Video, ingested: Ingested) -> EmbeddedVideo:
    return EmbeddedVideo(
        video_id=video.id,
        version=video.version,
        ordinals=[segment.ordinal for segment in ingested.segments],
        vectors=ingested.vectors,
    )


def _replace_segments(
    session: Session, video_id: UUID, segments: Sequence[IngestedSegment]
) -> None:
    session.execute(delete(Segment).where(Segment.video_id == video_id))
    rows = [
        {
            "video_id": video_id,
            "position": position,
            "ordinal": segment.ordinal,
            "start_s": segment.start_s,
            "end_s": segment.end_s,
            "thumbnail_offset": segment.thumbnail_offset,
            "thumbnail_bytes": segment.thumbnail_bytes,
        }
        for position, segment in enumerate(segments)
    ]
    if rows:
        session.execute(insert(Segment), rows)


def _describe(video: Video, ingested: Ingested) -> None:
    video.state = VideoState.PARTIAL if ingested.is_partial else VideoState.READY
    video.reason, video.detail = ingested.reason, ingested.detail
    video.num_segments = len(ingested.segments)
    video.derived = ingested.derived
    video.decode_report = ingested.report
    video.updated_at = utc_now()
    if ingested.facts is not None:
        set_facts(video, ingested.facts)


def set_facts(video: Video, facts: MediaFacts) -> None:
    """Keep what a probe found out."""
    video.container, video.codec = facts.container, facts.codec
    video.width, video.height = facts.width, facts.height
    video.duration_s, video.frame_rate = facts.duration_s, facts.frame_rate
