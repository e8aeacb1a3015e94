"""How a tuning run goes: what was decided, losses by step, notices. Fenced by its job."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from service.catalog.tuning_queries import lock_own_tuning
from service.catalog.tuning_tables import TuningNotice, TuningPoint

MAX_NOTICES = 200


def set_plan(session: Session, job_id: UUID, fence: int, plan: Mapping[str, Any]) -> None:
    """Add to what was decided of a run.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    tuning = lock_own_tuning(session, job_id, fence)
    tuning.plan = {**(tuning.plan or {}), **plan}
    session.flush()


def add_points(
    session: Session, job_id: UUID, fence: int, points: Mapping[int, Mapping[str, Any]]
) -> None:
    """Remember the losses of some steps, by number of the step; those known are left as they are.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    tuning_id = lock_own_tuning(session, job_id, fence).id
    known = set(
        session.scalars(
            select(TuningPoint.step).where(
                TuningPoint.tuning_id == tuning_id, TuningPoint.step.in_(points)
            )
        )
    )
    session.add_all(
        TuningPoint(tuning_id=tuning_id, step=step, values=dict(values))
        for step, values in points.items()
        if step not in known
    )
    session.flush()


def add_notice(session: Session, job_id: UUID, fence: int, *, reason: str, text: str) -> None:
    """Tell the admin something about a run, once; of a flood of notices only the first are kept.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    tuning_id = lock_own_tuning(session, job_id, fence).id
    told = notices_of(session, tuning_id)
    if len(told) >= MAX_NOTICES or any((one.reason, one.text) == (reason, text) for one in told):
        return
    session.add(TuningNotice(tuning_id=tuning_id, ordinal=len(told) + 1, reason=reason, text=text))
    session.flush()


def points_of(session: Session, tuning_id: UUID, *, after_step: int = 0) -> list[TuningPoint]:
    """Return the losses of a run, from the step after that one on."""
    return list(
        session.scalars(
            select(TuningPoint)
            .where(TuningPoint.tuning_id == tuning_id, TuningPoint.step > after_step)
            .order_by(TuningPoint.step)
        )
    )


def last_points(session: Session, tuning_ids: Collection[UUID]) -> dict[UUID, TuningPoint]:
    """Return the newest losses of each of some runs."""
    newest = (
        select(TuningPoint.tuning_id, func.max(TuningPoint.step).label("step"))
        .where(TuningPoint.tuning_id.in_(tuning_ids))
        .group_by(TuningPoint.tuning_id)
        .subquery()
    )
    found = session.scalars(
        select(TuningPoint).join(
            newest,
            and_(TuningPoint.tuning_id == newest.c.tuning_id, TuningPoint.step == newest.c.step),
        )
    )
    return {point.tuning_id: point for point in found}


def notices_of(session: Session, tuning_id: UUID, *, after: int = 0) -> list[TuningNotice]:
    """Return what a run had to tell, from the notice after that one on."""
    return list(
        session.scalars(
            select(TuningNotice)
            .where(TuningNotice.tuning_id == tuning_id, TuningNotice.ordinal > after)
            .order_by(TuningNotice.ordinal)
        )
    )
