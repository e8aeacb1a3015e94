"""Activations: one model takes over from another. Locks: generations, job, videos, counter."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from service.catalog.activation_tables import Activation, ReplicaReport, Trigger
from service.catalog.change_queries import append_change
from service.catalog.clock import database_time
from service.catalog.embedding_queries import count_missing
from service.catalog.evaluation_run_queries import add_runs_after_switch
from service.catalog.generation_queries import ActiveGeneration, generation_bundle, hand_over_jobs
from service.catalog.job_queries import (
    OPEN,
    LostLeaseError,
    give_up_generation,
    lock_own_job,
)
from service.catalog.tables import (
    ChangeOp,
    Generation,
    GenerationState,
    Job,
    JobKind,
    JobState,
    ModelVersion,
    utc_now,
)
from service.catalog.webhook_queries import Event, announce
from service.errors import ConflictError, NotFoundError

MOST_KEPT = 2
"""Generations that are kept at once: each costs every API process an index and a network, and
every upload an embedding."""


@dataclass(frozen=True, kw_only=True)
class ActivationRecord:
    """An activation with its job and its model."""

    activation: Activation
    job: Job
    model: ModelVersion


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What the job of an activation works with.

    Attributes:
        activation_id: which.
        target: the generation that is to take over.
        state: of it.
        active: what is searched now; None if nothing is.
        report: what is known so far.
    """

    activation_id: UUID
    target: ActiveGeneration
    state: GenerationState
    active: ActiveGeneration | None
    report: dict[str, Any]


def lock_generations(session: Session) -> list[Generation]:
    """Lock all generations that are not retired, against everything that writes to them."""
    statement = (
        select(Generation)
        .where(Generation.state != GenerationState.RETIRED)
        .order_by(Generation.id)
        .with_for_update(key_share=True)  # rows that only refer to them need not wait
        .execution_options(populate_existing=True)
    )
    return list(session.scalars(statement))


def refuse_if_running(session: Session) -> None:
    """Make sure that no activation is open; call it with the generations locked.

    Raises:
        ConflictError: one is.
    """
    running = session.scalar(
        select(Job.subject_id).where(Job.kind == JobKind.ACTIVATE, Job.state.in_(OPEN)).limit(1)
    )
    if running is not None:
        raise ConflictError(
            f"Another model is taking over (activation {running}); wait until it is done, or "
            f"cancel it: POST /v1/activations/{running}/cancel.",
            reason="activation_running",
        )


def add_activation(
    session: Session,
    *,
    model_version_id: UUID,
    kept: Generation | None,
    active: Generation | None,
    trigger: Trigger,
    created_by: UUID | None,
    is_forced: bool,
) -> tuple[Activation, Job]:
    """Queue an activation, with a generation of its own unless one is kept."""
    generation = kept
    if generation is None:
        generation = Generation(model_version_id=model_version_id, state=GenerationState.BUILDING)
        session.add(generation)
        session.flush()
    activation = Activation(
        generation_id=generation.id,
        from_generation_id=None if active is None else active.id,
        trigger=trigger,
        report={"is_forced": is_forced},
        created_by=created_by,
    )
    session.add(activation)
    session.flush()
    job = Job(
        kind=JobKind.ACTIVATE, subject_id=activation.id, generation_id=generation.id, version=1
    )
    session.add(job)
    session.flush()
    return activation, job


def begin_activation(
    session: Session, job_id: UUID, fence: int, *, spec: dict[str, Any] | None = None
) -> Begun:
    """Read what the job of an activation works with.

    Args:
        session: a writing session.
        job_id: its job.
        fence: as `claim_job` gave it.
        spec: what is known of the model now that it was loaded.

    Raises:
        LostLeaseError: the job is not this worker's any more, or its generation was given up.
    """
    generations = {one.id: one for one in lock_generations(session)}
    job = lock_own_job(session, job_id, fence)
    activation = session.get_one(Activation, job.subject_id)
    target = generations.get(activation.generation_id)
    if target is None:
        raise LostLeaseError(f"generation {activation.generation_id} was given up")
    if spec is not None:
        session.get_one(ModelVersion, target.model_version_id).spec = spec
        session.flush()
    active = next((g for g in generations.values() if g.state is GenerationState.ACTIVE), None)
    return Begun(
        activation_id=activation.id,
        target=generation_bundle(session, target.id),
        state=target.state,
        active=None if active is None else generation_bundle(session, active.id),
        report=dict(activation.report or {}),
    )


def save_report(session: Session, job_id: UUID, fence: int, report: dict[str, Any]) -> None:
    """Keep what an activation found out so far.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    job = lock_own_job(session, job_id, fence)
    session.get_one(Activation, job.subject_id).report = report


def mark_ready(session: Session, job_id: UUID, fence: int) -> None:
    """Let replicas load the generation beside the one that is searched.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    job = lock_own_job(session, job_id, fence)
    session.execute(
        update(Generation)
        .where(Generation.id == job.generation_id, Generation.state == GenerationState.BUILDING)
        .values(ready_at=func.coalesce(Generation.ready_at, database_time()))
    )


def count_replicas(
    session: Session, generation_id: UUID, *, seen_within_s: float
) -> tuple[int, int]:
    """Return how many processes said lately where they are in a generation, and how many it fits.

    Returns:
        Those that were seen, and those of them that have loaded it.
    """
    seen = session.execute(
        select(ReplicaReport.is_warm).where(
            ReplicaReport.generation_id == generation_id,
            ReplicaReport.seen_at > database_time(-seen_within_s),
        )
    ).all()
    return len(seen), sum(row.is_warm for row in seen)


def switch_now(session: Session, activation: Activation, *, kept_for_s: float) -> bool:
    """Search in the generation of an activation from now on, if it lacks nothing.

    The one before is kept so long, written on, for a rollback (of those before it one more), and
    the evaluation sets are to be run. All generations must be locked. The last thing that a
    transaction does.

    Returns:
        False if a video is missing: nothing was changed.
    """
    if count_missing(session, activation.generation_id)[0]:
        return False
    old = session.scalar(select(Generation).where(Generation.state == GenerationState.ACTIVE))
    if old is not None:
        old.state = GenerationState.KEPT
        old.kept_until = utc_now() + timedelta(seconds=kept_for_s)
        session.flush()  # before the other: at no moment are two active
    new = session.get_one(Generation, activation.generation_id)
    new.state, new.kept_until = GenerationState.ACTIVE, None
    new.ready_at = new.ready_at or utc_now()
    activation.switched_at = utc_now()
    session.flush()
    if old is not None:
        hand_over_jobs(session, old.id, new.id)
        _let_go_of_oldest(session)
    session.execute(
        update(Job)
        .where(Job.subject_id == activation.id, Job.kind == JobKind.ACTIVATE)
        .values(
            state=JobState.DONE,
            progress=1.0,
            stage=None,
            lease_until=None,
            reason=None,
            detail=None,
            started_at=func.coalesce(Job.started_at, database_time()),
            finished_at=database_time(),
        )
    )
    add_runs_after_switch(session, created_by=activation.created_by)
    switched = {
        "activation_id": str(activation.id),
        "generation_id": str(new.id),
        "model_version_id": str(new.model_version_id),
    }
    announce(session, Event.MODEL_ACTIVATED, switched)
    append_change(session, ChangeOp.PROMOTE, generation_id=new.id)
    return True


def _let_go_of_oldest(session: Session) -> None:
    """End the window of those that were searched before the last ones; the sweep does the rest."""
    kept = select(Generation.id).where(Generation.state == GenerationState.KEPT)
    too_many = session.scalars(kept.order_by(Generation.kept_until.desc()).offset(MOST_KEPT)).all()
    ended = update(Generation).where(Generation.id.in_(too_many))
    session.execute(ended.values(kept_until=database_time()))


def switch_by_job(session: Session, job_id: UUID, fence: int, *, kept_for_s: float) -> bool:
    """Let the job of an activation switch, see `switch_now`.

    Raises:
        LostLeaseError: the job is not this worker's any more, or its generation was given up.
    """
    written = {one.id for one in lock_generations(session)}
    job = lock_own_job(session, job_id, fence)
    activation = session.get_one(Activation, job.subject_id)
    if activation.generation_id not in written:
        raise LostLeaseError(f"generation {activation.generation_id} was given up")
    return switch_now(session, activation, kept_for_s=kept_for_s)


def cancel_activation(session: Session, activation_id: UUID) -> None:
    """End an activation that has not switched; what it built is given up.

    Raises:
        NotFoundError: there is none with this id.
        ConflictError: it is over.
    """
    lock_generations(session)
    record = get_activation(session, activation_id)
    cancelled = session.scalar(
        update(Job)
        .where(Job.id == record.job.id, Job.state.in_(OPEN))
        .values(state=JobState.CANCELLED, lease_until=None, finished_at=database_time())
        .returning(Job.id)
    )
    if cancelled is None:
        raise ConflictError(
            f"The activation is over ({record.job.state}), so it cannot be cancelled.",
            reason="activation_over",
        )
    give_up_generation(session, record.activation.generation_id)


def get_activation(session: Session, activation_id: UUID) -> ActivationRecord:
    """Return an activation.

    Raises:
        NotFoundError: there is none with this id.
    """
    found = session.execute(_records().where(Activation.id == activation_id)).one_or_none()
    if found is None:
        raise NotFoundError(f"There is no activation {activation_id}.")
    return ActivationRecord(activation=found[0], job=found[1], model=found[2])


def newest_activations(session: Session, *, limit: int) -> Sequence[ActivationRecord]:
    """Return activations, newest first."""
    rows = session.execute(
        _records().order_by(Activation.created_at.desc(), Activation.id).limit(limit)
    )
    return [ActivationRecord(activation=a, job=j, model=m) for a, j, m in rows]


def _records() -> Any:
    return (
        select(Activation, Job, ModelVersion)
        .join(Job, (Job.subject_id == Activation.id) & (Job.kind == JobKind.ACTIVATE))
        .join(Generation, Generation.id == Activation.generation_id)
        .join(ModelVersion, ModelVersion.id == Generation.model_version_id)
    )
