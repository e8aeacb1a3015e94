"""Model versions and generations: which embedding space is searched."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.catalog.change_queries import append_change
from service.catalog.clock import database_time
from service.catalog.tables import (
    ChangeOp,
    Embedding,
    Generation,
    GenerationState,
    Job,
    JobKind,
    JobState,
    ModelVersion,
)
from service.errors import ConflictError, UnavailableError


@dataclass(frozen=True, kw_only=True)
class ActiveGeneration:
    """The embedding space that is searched, and the bundle that makes it."""

    generation_id: UUID
    model_version_id: UUID
    name: str
    bundle_digest: str
    bundle_path: str
    spec: Mapping[str, Any]


def active_generation(session: Session) -> ActiveGeneration:
    """Return the generation that is searched.

    Raises:
        UnavailableError: none was registered yet.
    """
    found = find_active_generation(session)
    if found is None:
        raise UnavailableError(
            "No model is registered yet; the service is starting.", retry_after_s=5
        )
    return found


def find_active_generation(session: Session) -> ActiveGeneration | None:
    """Return the generation that is searched, or None before the first start."""
    row = session.execute(
        select(Generation, ModelVersion)
        .join(ModelVersion, ModelVersion.id == Generation.model_version_id)
        .where(Generation.state == GenerationState.ACTIVE)
    ).one_or_none()
    return None if row is None else _describe(*row)


def lock_active_generation(session: Session) -> None:
    """Lock the generation that is searched: who embeds into it ends first, or comes afterwards."""
    active = select(Generation.id).where(Generation.state == GenerationState.ACTIVE)
    session.execute(active.with_for_update(key_share=True))


def generation_bundle(session: Session, generation_id: UUID | None) -> ActiveGeneration:
    """Return a generation, whatever its state, with its bundle.

    Raises:
        ValueError: a job of no generation was taken for one of a generation.
    """
    if generation_id is None:
        raise ValueError("the job is of no generation")
    generation = session.get_one(Generation, generation_id)
    return _describe(generation, session.get_one(ModelVersion, generation.model_version_id))


def ensure_active_generation(
    session: Session, *, name: str, digest: str, path: str, spec: Mapping[str, Any]
) -> ActiveGeneration:
    """Register the bundle that this process was started with, and search with it.

    The last thing that a transaction does. Harmless when it is registered already.

    Args:
        session: a writing session.
        name: what people call the bundle.
        digest: digest of its files; it names the embedding space.
        path: where it lies.
        spec: what callers must know of the model, as JSON.

    Raises:
        ConflictError: videos were embedded by another bundle; their embeddings mean nothing to
            this one.
    """
    found = find_active_generation(session)
    if found is not None and found.bundle_digest == digest:
        session.get_one(ModelVersion, found.model_version_id).bundle_path = path
        return _describe(
            session.get_one(Generation, found.generation_id),
            session.get_one(ModelVersion, found.model_version_id),
        )
    if found is not None:
        lock_active_generation(session)
        _refuse_if_used(session, found, name=name, digest=digest)
        _retire(session, found)
    generation, version = _start(session, name=name, digest=digest, path=path, spec=spec)
    if found is not None:
        hand_over_jobs(session, found.generation_id, generation.id)
    append_change(session, ChangeOp.PROMOTE, generation_id=generation.id)
    return _describe(generation, version)


def put_version(
    session: Session, *, name: str, digest: str, path: str, spec: Mapping[str, Any]
) -> ModelVersion:
    """Register a bundle, or renew what is known of it."""
    version = session.scalar(select(ModelVersion).where(ModelVersion.bundle_digest == digest))
    if version is None:
        version = ModelVersion(bundle_digest=digest)
        session.add(version)
    version.name, version.bundle_path, version.spec = name, path, dict(spec)
    session.flush()
    return version


def _start(
    session: Session, *, name: str, digest: str, path: str, spec: Mapping[str, Any]
) -> tuple[Generation, ModelVersion]:
    """Make a new active generation of a bundle, which is registered if it is not yet."""
    version = put_version(session, name=name, digest=digest, path=path, spec=spec)
    generation = Generation(model_version_id=version.id, state=GenerationState.ACTIVE)
    session.add(generation)
    session.flush()
    return generation, version


def _refuse_if_used(session: Session, active: ActiveGeneration, *, name: str, digest: str) -> None:
    is_used = select(Embedding.ordinal).where(Embedding.generation_id == active.generation_id)
    if session.scalar(is_used.limit(1)) is not None:
        raise ConflictError(
            f"The videos were embedded by bundle {active.name} ({active.bundle_digest[:12]}), not "
            f"by {name} ({digest[:12]}). Let it take over with `reelseek models use {name}`.",
            reason="other_bundle",
        )


def _retire(session: Session, active: ActiveGeneration) -> None:
    session.execute(
        update(Generation)
        .where(Generation.id == active.generation_id)
        .values(state=GenerationState.RETIRED, kept_until=database_time())
    )


def hand_over_jobs(session: Session, old: UUID, new: UUID) -> None:
    """Let open jobs work for the generation that is searched; who works on one loses it."""
    open_jobs = select(Job.id).where(
        Job.generation_id == old,
        Job.kind == JobKind.INGEST,
        Job.state.in_((JobState.QUEUED, JobState.RUNNING)),
    )
    waiting = session.scalars(open_jobs.order_by(Job.id).with_for_update()).all()
    session.execute(
        update(Job)
        .where(Job.id.in_(waiting))
        .values(
            generation_id=new,
            state=JobState.QUEUED,
            attempts=0,
            fence=Job.fence + 1,
            lease_until=None,
            sent_at=None,
        )
    )


def _describe(generation: Generation, version: ModelVersion) -> ActiveGeneration:
    return ActiveGeneration(
        generation_id=generation.id,
        model_version_id=version.id,
        name=version.name,
        bundle_digest=version.bundle_digest,
        bundle_path=version.bundle_path,
        spec=version.spec,
    )
