"""Embeddings of videos in generations: what a commit writes, and what a generation still lacks.

Whoever writes embeddings holds a share of the rows of all generations that are followed, taken
before any other lock, so that no switch comes between (see docs/consistency.md).
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import ColumnElement, delete, exists, func, insert, select, update
from sqlalchemy.orm import Session

from service.catalog.activation_tables import Activation, GenerationVideo
from service.catalog.change_queries import append_change
from service.catalog.clock import database_time
from service.catalog.index_queries import SEARCHABLE
from service.catalog.job_queries import LostLeaseError, lock_own_job
from service.catalog.tables import (
    ChangeOp,
    Embedding,
    Generation,
    GenerationState,
    Job,
    JobKind,
    JobState,
    Video,
)

NORM_TOLERANCE = 0.01
FOLLOWED = (GenerationState.ACTIVE, GenerationState.BUILDING, GenerationState.KEPT)


@dataclass(frozen=True, kw_only=True)
class EmbeddedVideo:
    """A video as one generation sees it.

    Attributes:
        video_id: which.
        version: of the video.
        ordinals: of its N segments.
        vectors: their embeddings, unit norm, float (N, E).
        derived: folder of clips that were decoded for this generation; None if those that were
            stored fit.
    """

    video_id: UUID
    version: int
    ordinals: Sequence[int]
    vectors: np.ndarray
    derived: str | None = None


def share_generations(session: Session) -> list[Generation]:
    """Lock the generations that are written, against a switch but not against each other."""
    statement = (
        select(Generation)
        .where(Generation.state.in_(FOLLOWED))
        .order_by(Generation.id)
        .with_for_update(read=True)
        .execution_options(populate_existing=True)
    )
    return list(session.scalars(statement))


def checked_vectors(vectors: np.ndarray, count: int) -> np.ndarray:
    """Return embeddings as they are stored, little-endian float16 (N, E).

    Raises:
        ValueError: they are not `count` finite unit vectors.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != count:  # noqa: PLR2004 (N, E)
        raise ValueError(f"{vectors.shape} embeddings for {count} segments")
    norms = np.linalg.norm(vectors, axis=1)
    if not np.all(np.abs(norms - 1) < NORM_TOLERANCE):  # False for NaN, too
        raise ValueError("an embedding is not finite or not of unit norm")
    return vectors.astype("<f2")


def replace_embeddings(session: Session, generation_id: UUID, embedded: EmbeddedVideo) -> None:
    """Write the embeddings of a video in a generation, and that it is embedded there.

    Raises:
        ValueError: the embeddings are not finite unit vectors, one for each segment.
    """
    vectors = checked_vectors(embedded.vectors, len(embedded.ordinals))
    for table in (Embedding, GenerationVideo):
        session.execute(
            delete(table).where(
                table.generation_id == generation_id, table.video_id == embedded.video_id
            )
        )
    rows = [
        {
            "generation_id": generation_id,
            "video_id": embedded.video_id,
            "ordinal": ordinal,
            "video_version": embedded.version,
            "vector": vector.tobytes(),
            "crc": zlib.crc32(vector.tobytes()),
        }
        for ordinal, vector in zip(embedded.ordinals, vectors, strict=True)
    ]
    if rows:
        session.execute(insert(Embedding), rows)
    session.add(
        GenerationVideo(
            generation_id=generation_id,
            video_id=embedded.video_id,
            video_version=embedded.version,
            num_segments=len(rows),
            derived=embedded.derived,
        )
    )


def add_embed_jobs(
    session: Session, video: Video, generations: Sequence[Generation], *, but: UUID | None
) -> list[UUID]:
    """Queue a video that was just ingested to be embedded in the other generations, too."""
    jobs = [
        Job(
            kind=JobKind.EMBED,
            subject_id=video.id,
            generation_id=generation.id,
            version=video.version,
        )
        for generation in generations
        if generation.id != but
    ]
    session.add_all(jobs)
    session.flush()
    return [job.id for job in jobs]


def commit_embedding(
    session: Session, job_id: UUID, fence: int, embedded: EmbeddedVideo | None
) -> int | None:
    """Write one video into one more generation, and close the job that asked for it.

    The last thing that a transaction does.

    Args:
        session: a writing session.
        job_id: an EMBED job.
        fence: as `claim_job` gave it.
        embedded: what to write; None if there was nothing to do.

    Returns:
        The number of its line in the change log; None if nothing was written.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    generations = {one.id for one in share_generations(session)}
    job = lock_own_job(session, job_id, fence)
    if job.generation_id not in generations:
        raise LostLeaseError(f"generation {job.generation_id} is not written any more")
    written = [] if embedded is None else _write_new(session, job.generation_id, [embedded])
    job.state, job.progress, job.stage, job.lease_until = JobState.DONE, 1.0, None, None
    job.reason = job.detail = None
    session.flush()
    session.execute(update(Job).where(Job.id == job.id).values(finished_at=database_time()))
    return _announce(session, job.generation_id, written)


def commit_some(
    session: Session,
    job_id: UUID,
    fence: int,
    embedded: Sequence[EmbeddedVideo],
    *,
    report: dict[str, Any],
) -> int | None:
    """Write some videos into the generation of an activation that goes on.

    Those that were deleted, changed or written by another job meanwhile are left alone. The last
    thing that a transaction does.

    Args:
        session: a writing session.
        job_id: an ACTIVATE job.
        fence: as `claim_job` gave it.
        embedded: what to write.
        report: how far the activation is.

    Returns:
        The number of the last line in the change log; None if nothing was written.

    Raises:
        LostLeaseError: the job is not this worker's any more, or its generation was given up.
    """
    generations = {one.id for one in share_generations(session)}
    job = lock_own_job(session, job_id, fence)
    if job.generation_id not in generations:
        raise LostLeaseError(f"generation {job.generation_id} is not written any more")
    session.execute(update(Activation).where(Activation.id == job.subject_id).values(report=report))
    job.attempts = 1  # it gets on: kills do not make it look like poison
    return _announce(session, job.generation_id, _write_new(session, job.generation_id, embedded))


def _write_new(
    session: Session, generation_id: UUID, embedded: Sequence[EmbeddedVideo]
) -> list[EmbeddedVideo]:
    """Write what is still wanted, and return it; videos are locked in the order of their ids."""
    by_id = {one.video_id: one for one in embedded}
    live = select(Video.id).where(Video.id.in_(by_id), Video.state.in_(SEARCHABLE))
    session.execute(live.order_by(Video.id).with_for_update())
    lacking = session.execute(
        select(Video.id, Video.version)
        .where(Video.id.in_(by_id), Video.state.in_(SEARCHABLE), ~is_embedded(generation_id))
        .order_by(Video.id)
    )
    wanted = [by_id[id_] for id_, version in lacking if by_id[id_].version == version]
    for one in wanted:
        replace_embeddings(session, generation_id, one)
    return wanted


def _announce(
    session: Session, generation_id: UUID, written: Sequence[EmbeddedVideo]
) -> int | None:
    seq = None
    for one in written:
        seq = append_change(
            session,
            ChangeOp.UPSERT,
            video_id=one.video_id,
            video_version=one.version,
            generation_id=generation_id,
        )
    return seq


def is_embedded(generation_id: UUID) -> ColumnElement[bool]:
    """Return the condition that a video is embedded in a generation, as it is now."""
    return exists().where(
        GenerationVideo.generation_id == generation_id,
        GenerationVideo.video_id == Video.id,
        GenerationVideo.video_version == Video.version,
    )


def count_missing(session: Session, generation_id: UUID) -> tuple[int, int]:
    """Return how many searchable videos a generation lacks, and their segments."""
    counted = select(func.count(), func.coalesce(func.sum(Video.num_segments), 0))
    videos, segments = session.execute(
        counted.where(Video.state.in_(SEARCHABLE), ~is_embedded(generation_id))
    ).one()
    return int(videos), int(segments)


def count_searchable_segments(session: Session) -> int:
    """Return how many segments all searchable videos have."""
    counted = select(func.coalesce(func.sum(Video.num_segments), 0))
    return int(session.scalar(counted.where(Video.state.in_(SEARCHABLE))) or 0)


def count_embedded_videos(session: Session, generation_id: UUID) -> int:
    """Return how many videos are embedded in a generation."""
    counted = select(func.count()).select_from(GenerationVideo)
    return session.scalar(counted.where(GenerationVideo.generation_id == generation_id)) or 0
