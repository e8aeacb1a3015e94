"""For which jobs a worker must be woken: messages get lost, jobs do not."""

from collections.abc import Collection, Iterable
from uuid import UUID

from sqlalchemy import and_, not_, or_, select, update
from sqlalchemy.orm import Session

from service.catalog.clock import database_time
from service.catalog.job_queries import LEASE_S, waits
from service.catalog.tables import Job, JobKind, JobState


def due_jobs(
    session: Session,
    *,
    limit: int = 20,
    first_after_s: float = 5.0,
    again_after_s: float = 60.0,
    lease_s: float = LEASE_S,
) -> list[Job]:
    """Return jobs whose message seems lost: waiting for a while, or with a lease that is over.

    Only the oldest few of each kind are looked at and none is sent often, so that a long queue
    does not breed messages faster than workers read them; those of one kind, which may have to
    wait for hours, hide none of another.

    Args:
        session: any session.
        limit: how many of the oldest open jobs of each kind are looked at.
        first_after_s: age from which a job is sent again for the first time.
        again_after_s: time between two messages for the same job.
        lease_s: how long workers hold a job without a word.
    """
    # what couriers have not sent yet they send themselves, and leave that of webhooks that rest
    is_left = and_(Job.kind == JobKind.DELIVER, Job.state == JobState.QUEUED, Job.sent_at.is_(None))
    oldest = [
        select(Job.id)
        .where(Job.kind == kind, waits(lease_s), not_(is_left))
        .order_by(Job.created_at)
        .limit(limit)
        for kind in JobKind
    ]
    is_old = or_(
        Job.created_at < database_time(-first_after_s),
        Job.created_at > database_time(again_after_s),  # the clock was set back
    )
    was_not_sent = and_(Job.sent_at.is_(None), is_old)
    is_sent_long_ago = or_(
        Job.sent_at < database_time(-again_after_s),
        Job.sent_at > database_time(again_after_s),
    )
    was_sent_before_it_ran = Job.sent_at < Job.lease_until
    return list(
        session.scalars(
            select(Job)
            .where(or_(*(Job.id.in_(some) for some in oldest)))
            .where(or_(was_not_sent, is_sent_long_ago, was_sent_before_it_ran))
            .order_by(Job.created_at)
        )
    )


def oldest_waiting(
    session: Session, kind: JobKind, *, but: Collection[UUID], lease_s: float = LEASE_S
) -> UUID | None:
    """Return the job of a kind that waits for longest, whatever was sent for it."""
    found = select(Job.id).where(Job.kind == kind, waits(lease_s), Job.id.not_in(list(but)))
    return session.scalar(found.order_by(Job.created_at, Job.id).limit(1))


def mark_sent(session: Session, job_ids: Iterable[UUID]) -> None:
    """Remember that messages were sent for these jobs."""
    session.execute(update(Job).where(Job.id.in_(list(job_ids))).values(sent_at=database_time()))


def forget_sent(session: Session, job_ids: Iterable[UUID]) -> None:
    """Take it back that messages were sent: the broker did not take them."""
    session.execute(update(Job).where(Job.id.in_(list(job_ids))).values(sent_at=None))
