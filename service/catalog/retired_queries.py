"""Retired generations give back what they hold, a little at a time."""

from uuid import UUID

from sqlalchemy import delete, exists, or_, select
from sqlalchemy.orm import Session

from service.catalog.activation_tables import GenerationVideo, ReplicaReport
from service.catalog.tables import Embedding, Generation, GenerationState, ModelVersion, Snapshot

VIDEOS_AT_ONCE = 200


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
    """Return the digests of bundles whose embeddings are there or are being made."""
    used = select(ModelVersion.bundle_digest).join(
        Generation, Generation.model_version_id == ModelVersion.id
    )
    return set(session.scalars(used.where(Generation.state != GenerationState.RETIRED)))
