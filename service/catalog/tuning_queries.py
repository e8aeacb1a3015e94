"""Tuning runs: their pairs, how they went, and what came out. The job's row is locked first."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from service.catalog.activation_tables import Activation
from service.catalog.clock import database_time
from service.catalog.job_queries import OPEN, lock_own_job
from service.catalog.quoted_queries import lock_tuning, with_what_is_left
from service.catalog.tables import Blob, Generation, Job, JobKind, JobState, ModelVersion, Video
from service.catalog.tuning_tables import Tuning, TuningPair
from service.catalog.webhook_queries import announce_tuning
from service.errors import ConflictError, NotFoundError


@dataclass(frozen=True, kw_only=True)
class TuningRecord:
    """A run with what belongs to it.

    Attributes:
        tuning: what was asked and what came out.
        job: how far it is.
        base_name: of the model that it starts from.
        candidate_name: of the model that came out, if one did.
    """

    tuning: Tuning
    job: Job
    base_name: str
    candidate_name: str | None


@dataclass(frozen=True, kw_only=True)
class BaseVersion:
    """A model that a run may start from."""

    id: UUID
    name: str
    bundle_digest: str
    bundle_path: str


@dataclass(frozen=True, kw_only=True)
class PairRow:
    """A pair of a run with the file of its video."""

    pair: TuningPair
    sha256: str
    duration_s: float | None


def add_tuning(session: Session, tuning: Tuning, pairs: Sequence[TuningPair]) -> Job:
    """Write a run, its pairs and its job.

    Args:
        session: a writing session.
        tuning: the run.
        pairs: what it may learn from; their `tuning_id` is filled in.
    """
    session.add(tuning)
    session.flush()
    for pair in pairs:
        pair.tuning_id = tuning.id
    session.add_all(pairs)
    job = Job(kind=JobKind.TUNE, subject_id=tuning.id, generation_id=None, version=1)
    session.add(job)
    session.flush()
    return job


def find_base_version(session: Session, version_id: UUID) -> BaseVersion:
    """Return a model by its id.

    Raises:
        NotFoundError: there is none with this id.
    """
    version = session.get(ModelVersion, version_id)
    if version is None:
        raise NotFoundError(
            f"There is no model {version_id}; GET /v1/models lists those there are."
        )
    return BaseVersion(
        id=version.id,
        name=version.name,
        bundle_digest=version.bundle_digest,
        bundle_path=version.bundle_path,
    )


def get_tuning(session: Session, tuning_id: UUID) -> TuningRecord:
    """Return a run.

    Raises:
        NotFoundError: there is none with this id.
    """
    found = tunings_by_id(session, [tuning_id])
    if not found:
        raise NotFoundError(f"There is no tuning {tuning_id}.")
    return found[0]


def tunings_by_id(session: Session, tuning_ids: Collection[UUID]) -> list[TuningRecord]:
    """Return those of the runs that exist."""
    return _read(session, _records().where(Tuning.id.in_(tuning_ids)))


def list_tunings(
    session: Session, *, limit: int, before: tuple[datetime, UUID] | None = None
) -> list[TuningRecord]:
    """Return runs, newest first.

    Args:
        session: any session.
        limit: how many at most.
        before: time and id of the last one that was shown.
    """
    statement = _records().order_by(Tuning.created_at.desc(), Tuning.id.desc()).limit(limit)
    if before is not None:
        shown_at, shown_id = before
        is_older = or_(
            Tuning.created_at < shown_at,
            and_(Tuning.created_at == shown_at, Tuning.id < shown_id),
        )
        statement = statement.where(is_older)
    return _read(session, statement)


def open_names(session: Session) -> set[str]:
    """Return the names that runs which wait or go on will give to their models."""
    requests = session.scalars(
        select(Tuning.request)
        .join(Job, and_(Job.subject_id == Tuning.id, Job.kind == JobKind.TUNE))
        .where(Job.state.in_(OPEN))
    )
    return {str(request["name"]) for request in requests if request.get("name")}


def cancel_tuning(session: Session, tuning_id: UUID) -> None:
    """Cancel a run: whoever works on it stops, and nothing comes of it.

    Raises:
        NotFoundError: there is none with this id.
        ConflictError: it has ended already.
    """
    job = session.scalar(
        select(Job)
        .where(Job.subject_id == tuning_id, Job.kind == JobKind.TUNE)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if job is None:
        raise NotFoundError(f"There is no tuning {tuning_id}.")
    if job.state not in OPEN:
        raise ConflictError(
            f"The tuning has ended already: it is {job.state}.", reason="already_ended"
        )
    job.state, job.lease_until = JobState.CANCELLED, None
    session.flush()
    session.execute(update(Job).where(Job.id == job.id).values(finished_at=database_time()))
    announce_tuning(session, tuning_id, JobState.CANCELLED)


# --- pairs


def pairs_of(session: Session, tuning_id: UUID) -> list[PairRow]:
    """Return the pairs that are left of a run, in order, with the files of their videos."""
    rows = session.execute(
        select(TuningPair, Blob.sha256, Video.duration_s)
        .join(Video, Video.id == TuningPair.video_id)
        .join(Blob, Blob.sha256 == Video.sha256)
        .where(TuningPair.tuning_id == tuning_id)
        .order_by(TuningPair.ordinal)
    )
    return [PairRow(pair=pair, sha256=sha256, duration_s=length) for pair, sha256, length in rows]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the worker of a run looks at while its process works."""

    state: JobState
    fence: int
    num_pairs: int


def look_at(session: Session, job_id: UUID) -> Seen:
    """Return how the job of a run stands, and how many pairs are left of it."""
    num_pairs = (
        select(func.count())
        .select_from(TuningPair)
        .where(TuningPair.tuning_id == Job.subject_id)
        .correlate(Job)
        .scalar_subquery()
    )
    state, fence, count = session.execute(
        select(Job.state, Job.fence, num_pairs).where(Job.id == job_id)
    ).one()
    return Seen(state=state, fence=fence, num_pairs=count)


def ordinals_of(session: Session, tuning_id: UUID) -> set[int]:
    """Return which pairs are left of a run."""
    return set(session.scalars(select(TuningPair.ordinal).where(TuningPair.tuning_id == tuning_id)))


# --- the end


def lock_own_tuning(session: Session, job_id: UUID, fence: int) -> Tuning:
    """Lock the job of a run that this worker claimed, and return the run.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    job = lock_own_job(session, job_id, fence)
    return session.get_one(Tuning, job.subject_id)


def set_candidate(
    session: Session,
    job_id: UUID,
    fence: int,
    *,
    candidate_version_id: UUID,
    report: Mapping[str, Any],
) -> Tuning:
    """Write what came out of a run; of its report what was not deleted meanwhile.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    tuning = lock_own_tuning(session, job_id, fence)
    lock_tuning(session, tuning.id)
    tuning.candidate_version_id = candidate_version_id
    tuning.report = with_what_is_left(session, tuning.id, report)
    session.flush()
    return tuning


def was_activated(session: Session, version_id: UUID, *, since: datetime) -> bool:
    """Tell whether an activation of this model was asked for since then."""
    asked = (
        select(Activation.id)
        .join(Generation, Generation.id == Activation.generation_id)
        .where(Generation.model_version_id == version_id, Activation.created_at >= since)
    )
    return session.scalar(asked.limit(1)) is not None


def finish_tuning(session: Session, job_id: UUID, fence: int) -> None:
    """Close the job of a run that has its candidate.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    job = lock_own_job(session, job_id, fence)
    session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(
            state=JobState.DONE,
            progress=1.0,
            lease_until=None,
            reason=None,
            detail=None,
            finished_at=database_time(),
        )
    )
    announce_tuning(session, job.subject_id, JobState.DONE)


def ended_tunings(
    session: Session, tuning_ids: Iterable[UUID], *, older_than_s: float
) -> set[UUID]:
    """Return which of these runs need no folder: they ended long ago, or never were.

    Args:
        session: any session.
        tuning_ids: runs that have a folder.
        older_than_s: since when a run must have ended, seconds.
    """
    asked = set(tuning_ids)
    is_needed = or_(
        Job.state.in_(OPEN),
        Job.finished_at.is_(None),
        Job.finished_at > database_time(-older_than_s),
    )
    needed = session.scalars(
        select(Job.subject_id).where(Job.kind == JobKind.TUNE, Job.subject_id.in_(asked), is_needed)
    )
    return asked - set(needed)


def _records() -> Select[Tuning, Job, str, str]:
    base, candidate = aliased(ModelVersion), aliased(ModelVersion)
    return (
        select(Tuning, Job, base.name, candidate.name)
        .join(Job, and_(Job.subject_id == Tuning.id, Job.kind == JobKind.TUNE))
        .join(base, base.id == Tuning.base_version_id)
        .outerjoin(candidate, candidate.id == Tuning.candidate_version_id)
    )


def _read(session: Session, statement: Select[Tuning, Job, str, str]) -> list[TuningRecord]:
    return [
        TuningRecord(tuning=tuning, job=job, base_name=base, candidate_name=candidate)
        for tuning, job, base, candidate in session.execute(statement)
    ]
