"""Runs of evaluation sets: queued, measured by a worker, kept as a history."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.orm import Session, defer

from service.catalog.activation_tables import Trigger
from service.catalog.clock import database_time
from service.catalog.evaluation_queries import get_set, newest_set_ids
from service.catalog.evaluation_tables import EvaluationQuery, EvaluationRun, EvaluationSet
from service.catalog.job_queries import lock_own_job
from service.catalog.tables import Job, JobKind, JobState, ModelVersion, Segment
from service.errors import NotFoundError

IDS_PER_STATEMENT = 5000


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run with its set, its job, and the name of the model that it measured."""

    run: EvaluationRun
    evaluation_set: EvaluationSet
    job: Job
    model_name: str | None


@dataclass(frozen=True, kw_only=True)
class Span:
    """A segment of a video, seconds."""

    video_id: UUID
    ordinal: int
    start_s: float
    end_s: float


def add_run(
    session: Session, set_id: UUID, *, trigger: Trigger, created_by: UUID | None
) -> RunRecord:
    """Queue a run of a set; one that waits already is returned instead.

    Raises:
        NotFoundError: there is no such set.
    """
    get_set(session, set_id)
    waiting = session.execute(
        _runs().where(EvaluationRun.set_id == set_id, _waits()).limit(1)
    ).one_or_none()
    if waiting is not None:
        return _run_record(*waiting)
    run = EvaluationRun(set_id=set_id, trigger=trigger, created_by=created_by)
    session.add(run)
    session.flush()
    session.add(Job(kind=JobKind.EVALUATE, subject_id=run.id, version=1))
    session.flush()
    return get_run(session, run.id)


def add_runs_after_switch(session: Session, *, created_by: UUID | None) -> None:
    """Queue a run of the newest version of every set, in the transaction of a switch.

    A run that waits will measure the model that takes over, so its set gets no other one.
    """
    waiting = select(EvaluationRun.set_id).join(Job, _is_its_job()).where(_waits())
    held = set(session.scalars(waiting.with_for_update(of=Job)))  # not claimed before the switch
    runs = [
        EvaluationRun(set_id=set_id, trigger=Trigger.SWITCH, created_by=created_by)
        for set_id in newest_set_ids(session)
        if set_id not in held
    ]
    session.add_all(runs)
    session.flush()
    session.add_all(Job(kind=JobKind.EVALUATE, subject_id=run.id, version=1) for run in runs)
    session.flush()


def unsent_runs(session: Session) -> list[UUID]:
    """Return the jobs of runs that wait and that no message was sent for by the sweep."""
    waiting = select(Job.id).where(Job.kind == JobKind.EVALUATE, _waits(), Job.sent_at.is_(None))
    return list(session.scalars(waiting.order_by(Job.created_at)))


def get_run(session: Session, run_id: UUID) -> RunRecord:
    """Return a run.

    Raises:
        NotFoundError: there is none with this id.
    """
    row = session.execute(_runs().where(EvaluationRun.id == run_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"There is no evaluation run {run_id}.")
    return _run_record(*row)


def runs_of(session: Session, set_id: UUID, *, limit: int) -> list[RunRecord]:
    """Return the runs of a set, newest first, without their answers."""
    statement = _runs().where(EvaluationRun.set_id == set_id)
    statement = statement.order_by(EvaluationRun.created_at.desc(), EvaluationRun.id).limit(limit)
    rows = session.execute(statement.options(defer(EvaluationRun.answers, raiseload=True)))
    return [_run_record(*row) for row in rows]


def latest_results(session: Session, set_ids: Collection[UUID]) -> dict[UUID, RunRecord]:
    """Return the newest run of each set that has ended with figures, without its answers."""
    newest = (
        select(EvaluationRun.set_id, func.max(EvaluationRun.created_at).label("created_at"))
        .where(EvaluationRun.set_id.in_(set_ids), EvaluationRun.figures.is_not(None))
        .group_by(EvaluationRun.set_id)
        .subquery()
    )
    is_newest = (EvaluationRun.set_id == newest.c.set_id) & (
        EvaluationRun.created_at == newest.c.created_at
    )
    statement = _runs().join(newest, is_newest).where(EvaluationRun.figures.is_not(None))
    rows = session.execute(statement.options(defer(EvaluationRun.answers, raiseload=True)))
    records = [_run_record(*row) for row in rows]
    return {record.run.set_id: record for record in records}


def result_before(session: Session, run: EvaluationRun) -> EvaluationRun | None:
    """Return the newest earlier run of the same set that has figures."""
    return session.scalar(
        select(EvaluationRun)
        .where(
            EvaluationRun.set_id == run.set_id,
            EvaluationRun.id != run.id,
            EvaluationRun.created_at <= run.created_at,
            EvaluationRun.figures.is_not(None),
        )
        .order_by(EvaluationRun.created_at.desc(), EvaluationRun.id)
        .limit(1)
    )


def spans_of(session: Session, video_ids: Collection[UUID]) -> list[Span]:
    """Return the segments of some videos."""
    wanted = sorted(set(video_ids))
    columns = (Segment.video_id, Segment.ordinal, Segment.start_s, Segment.end_s)
    found: list[Span] = []
    for start in range(0, len(wanted), IDS_PER_STATEMENT):
        some = wanted[start : start + IDS_PER_STATEMENT]
        for row in session.execute(select(*columns).where(Segment.video_id.in_(some))):
            video_id, ordinal, start_s, end_s = row
            found.append(Span(video_id=video_id, ordinal=ordinal, start_s=start_s, end_s=end_s))
    return found


def commit_run(
    session: Session,
    job_id: UUID,
    fence: int,
    *,
    generation_id: UUID,
    model_version_id: UUID,
    figures: dict[str, Any],
    answers: dict[str, Any],
) -> None:
    """Write what a run found, and close its job.

    Raises:
        LostLeaseError: the job is not this worker's any more; nothing may be committed.
    """
    job = lock_own_job(session, job_id, fence)
    run = session.get_one(EvaluationRun, job.subject_id)
    run.generation_id, run.model_version_id = generation_id, model_version_id
    run.figures, run.answers = figures, answers
    job.state, job.progress, job.stage = JobState.DONE, 1.0, None
    job.reason = job.detail = job.lease_until = None
    session.flush()
    session.execute(update(Job).where(Job.id == job.id).values(finished_at=database_time()))


def delete_set(session: Session, set_id: UUID) -> None:
    """Remove all versions of a set, with their history; runs that wait or go on are cancelled.

    Raises:
        NotFoundError: there is none with this id.
    """
    name = session.scalar(select(EvaluationSet.name).where(EvaluationSet.id == set_id))
    if name is None:
        raise NotFoundError(f"There is no evaluation set {set_id}.")
    versions = select(EvaluationSet.id).where(EvaluationSet.name == name).scalar_subquery()
    runs = select(EvaluationRun.id).where(EvaluationRun.set_id.in_(versions)).scalar_subquery()
    session.execute(delete(Job).where(Job.kind == JobKind.EVALUATE, Job.subject_id.in_(runs)))
    session.execute(delete(EvaluationRun).where(EvaluationRun.set_id.in_(versions)))
    session.execute(delete(EvaluationQuery).where(EvaluationQuery.set_id.in_(versions)))
    session.execute(delete(EvaluationSet).where(EvaluationSet.name == name))


def _is_its_job() -> ColumnElement[bool]:
    return (Job.subject_id == EvaluationRun.id) & (Job.kind == JobKind.EVALUATE)


def _waits() -> ColumnElement[bool]:
    return Job.state == JobState.QUEUED


def _runs() -> Select[*tuple[Any, ...]]:
    return (
        select(EvaluationRun, EvaluationSet, Job, ModelVersion.name)
        .join(EvaluationSet, EvaluationSet.id == EvaluationRun.set_id)
        .join(Job, _is_its_job())
        .outerjoin(ModelVersion, ModelVersion.id == EvaluationRun.model_version_id)
    )


def _run_record(run: EvaluationRun, of: EvaluationSet, job: Job, name: str | None) -> RunRecord:
    return RunRecord(run=run, evaluation_set=of, job=job, model_name=name)
