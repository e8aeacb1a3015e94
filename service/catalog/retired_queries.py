"""Generations whose time is over are retired, and give back what they hold bit by bit."""

from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from service.catalog.activation_queries import lock_generations
from service.catalog.activation_tables import GenerationVideo, ReplicaReport
from service.catalog.clock import database_time
from service.catalog.job_queries import OPEN, cancel_embed_jobs
from service.catalog.tables import (
    Embedding,
    Generation,
    GenerationState,
    Job,
    JobKind,
    ModelVersion,
    Snapshot,
)
from service.catalog.tuning_tables import Tuning

VIDEOS_AT_ONCE = 200


def retire_what_ended(session: Session) -> list[UUID]:
    """Retire kept generations whose window is over, and built ones that nobody builds.

    Returns:
        Those that were retired.
    """
    if not session.scalar(select(func.count()).where(_may_have_ended())):
        return []
    lock_generations(session)
    in_use = select(Job.generation_id).where(
        Job.kind == JobKind.ACTIVATE, Job.state.in_(OPEN), Job.generation_id.is_not(None)
    )
    ended = list(
        session.scalars(
            update(Generation)
            .where(_may_have_ended(), Generation.id.not_in(in_use))
            .values(state=GenerationState.RETIRED, ready_at=None, kept_until=database_time())
            .returning(Generation.id)
        )
    )
    for generation_id in ended:
        cancel_embed_jobs(session, generation_id)
    return ended


def _may_have_ended() -> ColumnElement[bool]:
    is_over = or_(Generation.kept_until.is_(None), Generation.kept_until < database_time())
    return or_(
        and_(Generation.state == GenerationState.KEPT, is_over),
        Generation.state == GenerationState.BUILDING,
    )


def retired_with_remains(session: Session) -> list[UUID]:
    """Return the retired generations that still hold something."""
    holds = or_(
        *(
            exists().where(table.generation_id == Generation.id)
            for table in (GenerationVideo, Embedding, Snapshot, ReplicaReport)
        )
    )
    retired = select(Generation.id).where(Generation.state == GenerationState.RETIRED, holds)
    return list(session.scalars(retired))


def empty_some(session: Session, generation_id: UUID) -> bool:
    """Remove the embeddings of some videos from a generation that must be retired.

    Returns:
        Whether there may be more.
    """
    listed = select(GenerationVideo.video_id).where(GenerationVideo.generation_id == generation_id)
    videos = session.scalars(listed.limit(VIDEOS_AT_ONCE)).all()
    if not videos:  # embeddings that nothing lists, if there are any
        unlisted = select(Embedding.video_id).where(Embedding.generation_id == generation_id)
        videos = session.scalars(unlisted.distinct().limit(VIDEOS_AT_ONCE)).all()
    for table in (Embedding, GenerationVideo):
        session.execute(
            delete(table).where(
                table.generation_id == generation_id, table.video_id.in_(sorted(videos))
            )
        )
    return bool(videos)


def forget_snapshots(session: Session, generation_id: UUID) -> list[str]:
    """Forget the snapshots and reports of a generation, and return the files to be removed."""
    session.execute(delete(ReplicaReport).where(ReplicaReport.generation_id == generation_id))
    gone = delete(Snapshot).where(Snapshot.generation_id == generation_id).returning(Snapshot.path)
    return list(session.scalars(gone))


def digests_in_use(session: Session) -> set[str]:
    """Return the digests of bundles whose embeddings are there or that a tuning starts from."""
    digests = select(ModelVersion.bundle_digest)
    embedding = digests.join(Generation, Generation.model_version_id == ModelVersion.id)
    embedding = embedding.where(Generation.state != GenerationState.RETIRED)
    tuned = digests.join(Tuning, Tuning.base_version_id == ModelVersion.id)
    tuned = tuned.join(Job, (Job.subject_id == Tuning.id) & (Job.kind == JobKind.TUNE))
    return set(session.scalars(embedding.union(tuned.where(Job.state.in_(OPEN)))))
