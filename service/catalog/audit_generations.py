"""The part of the audit that looks at generations: what they list, hold and announced."""

from collections.abc import Iterator
from itertools import chain
from uuid import UUID

from sqlalchemy import Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from service.catalog.activation_tables import GenerationVideo
from service.catalog.clock import database_time
from service.catalog.embedding_queries import is_embedded
from service.catalog.generation_queries import find_active_generation
from service.catalog.index_queries import SEARCHABLE
from service.catalog.job_queries import OPEN
from service.catalog.tables import (
    Change,
    ChangeOp,
    Embedding,
    Generation,
    GenerationState,
    Job,
    JobKind,
    Video,
    VideoState,
)
from service.catalog.violations import Violation


def audit_generations(session: Session, *, grace_s: float) -> Iterator[Violation]:
    """Yield the broken promises about generations.

    Args:
        session: a reading session.
        grace_s: time after which what a retired generation held should be gone, seconds.
    """
    return chain(
        _audit_listed(session),
        _audit_held(session),
        _audit_states(session, grace_s),
    )


def _audit_listed(session: Session) -> Iterator[Violation]:
    """Look for videos that a generation should list and does not, or the other way round."""
    active = find_active_generation(session)
    if active is not None:
        unlisted = select(Video.id).where(
            Video.state.in_(SEARCHABLE), ~is_embedded(active.generation_id)
        )
        for video_id in session.scalars(unlisted):
            yield Violation(
                "missing_generation_video",
                f"video {video_id}",
                "is searchable, but the generation that is searched does not list it",
            )
    stale = (
        select(GenerationVideo.generation_id, GenerationVideo.video_id)
        .join(Video, Video.id == GenerationVideo.video_id)
        .where(
            or_(Video.state == VideoState.DELETED, GenerationVideo.video_version != Video.version)
        )
    )
    yield from _of_pairs(
        session, "stale_generation_video", stale, "is listed, but was deleted or changed"
    )
    is_announced = exists().where(
        Change.op == ChangeOp.UPSERT,
        Change.generation_id == GenerationVideo.generation_id,
        Change.video_id == GenerationVideo.video_id,
        Change.video_version == GenerationVideo.video_version,
    )
    unannounced = select(GenerationVideo.generation_id, GenerationVideo.video_id).where(
        ~is_announced
    )
    yield from _of_pairs(
        session, "unannounced_change", unannounced, "is listed, but replicas were never told"
    )


def _audit_held(session: Session) -> Iterator[Violation]:
    """Compare the embeddings that a generation holds with what it lists."""
    held = (
        select(Embedding.generation_id, Embedding.video_id, func.count().label("number"))
        .group_by(Embedding.generation_id, Embedding.video_id)
        .subquery()
    )
    same = and_(
        held.c.generation_id == GenerationVideo.generation_id,
        held.c.video_id == GenerationVideo.video_id,
    )
    wrong = (
        select(GenerationVideo.generation_id, GenerationVideo.video_id)
        .outerjoin(held, same)
        .where(func.coalesce(held.c.number, 0) != GenerationVideo.num_segments)
    )
    yield from _of_pairs(
        session, "wrong_embeddings", wrong, "has another number of embeddings than is listed"
    )
    unlisted = (
        select(held.c.generation_id, held.c.video_id)
        .outerjoin(GenerationVideo, same)
        .where(GenerationVideo.video_id.is_(None))
    )
    yield from _of_pairs(
        session, "unlisted_embedding", unlisted, "has embeddings, but is not listed"
    )


def _audit_states(session: Session, grace_s: float) -> Iterator[Violation]:
    """Look for generations that nobody builds or needs, and for two switches at once."""
    open_jobs = session.scalars(
        select(Job.generation_id).where(Job.kind == JobKind.ACTIVATE, Job.state.in_(OPEN))
    ).all()
    if len(open_jobs) > 1:
        yield Violation("many_activations", "activations", f"{len(open_jobs)} are open, one may be")
    abandoned = select(Generation.id).where(
        Generation.state == GenerationState.BUILDING,
        Generation.created_at < database_time(-grace_s),
        Generation.id.not_in([one for one in open_jobs if one is not None]),
    )
    for generation_id in session.scalars(abandoned):
        yield Violation(
            "abandoned_generation", f"generation {generation_id}", "is built, but by nobody"
        )
    holds = or_(
        exists().where(Embedding.generation_id == Generation.id),
        exists().where(GenerationVideo.generation_id == Generation.id),
    )
    remaining = select(Generation.id).where(
        Generation.state == GenerationState.RETIRED,
        Generation.kept_until < database_time(-grace_s),
        holds,
    )
    for generation_id in session.scalars(remaining):
        yield Violation(
            "remains_of_retired_generation",
            f"generation {generation_id}",
            "was retired long ago, but still holds embeddings",
        )


def _of_pairs(
    session: Session, kind: str, found: Select[UUID, UUID], detail: str
) -> Iterator[Violation]:
    for generation_id, video_id in session.execute(found):
        yield Violation(kind, f"video {video_id} in generation {generation_id}", detail)
