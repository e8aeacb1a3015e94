"""Messages to webhooks as a courier works on them. The job's row is locked first."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Select, delete, or_, select, update
from sqlalchemy.orm import Session

from service.catalog.clock import database_time
from service.catalog.job_queries import LostLeaseError, lock_own_job, postpone_job
from service.catalog.tables import Job, JobKind, JobState, utc_now
from service.catalog.webhook_queries import Event
from service.catalog.webhook_rest_queries import IS_RESTED
from service.catalog.webhook_tables import DeliveryState, Webhook, WebhookDelivery

MAX_DETAIL = 500


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What came of one try.

    Attributes:
        status: HTTP status of the answer, if there was one.
        detail: a sentence for a person if it failed.
    """

    status: int | None
    detail: str | None = None


def load_delivery(session: Session, delivery_id: UUID) -> tuple[WebhookDelivery, Webhook]:
    """Return a message and its webhook, deleted or not.

    Raises:
        LostLeaseError: it was forgotten.
    """
    delivery = session.get(WebhookDelivery, delivery_id)
    if delivery is None:
        raise LostLeaseError(f"delivery {delivery_id} was forgotten")
    return delivery, session.get_one(Webhook, delivery.webhook_id)


def commit_delivered(session: Session, job_id: UUID, fence: int, sent: Sent) -> None:
    """Close a message that was taken.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    job = lock_own_job(session, job_id, fence)
    delivery = _count_try(session, job, sent)
    delivery.state, delivery.delivered_at = DeliveryState.DELIVERED, utc_now()
    _close(session, job)


def commit_given_up(
    session: Session, job_id: UUID, fence: int, sent: Sent, *, is_tried: bool = True
) -> None:
    """Close a message that nobody took.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    job = lock_own_job(session, job_id, fence)
    delivery = _count_try(session, job, sent, count=int(is_tried))
    delivery.state = DeliveryState.GIVEN_UP
    _close(session, job)


def commit_retry(session: Session, job_id: UUID, fence: int, sent: Sent, *, wait_s: float) -> None:
    """Let a message be tried again after so many seconds.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    job = lock_own_job(session, job_id, fence)
    _count_try(session, job, sent)
    detail = sent.detail or f"It answered {sent.status}."
    postpone_job(session, job_id, fence, wait_s=wait_s, reason="webhook_not_reached", detail=detail)


def commit_resting(session: Session, job_id: UUID, fence: int) -> None:
    """Put a message back that came although its webhook rests; that is no try.

    `take_unsent` holds it back as long as the webhook rests.

    Raises:
        LostLeaseError: the job is not this worker's any more.
    """
    detail = "The webhook is away; it is tried again after a rest."
    postpone_job(session, job_id, fence, wait_s=1.0, reason="webhook_rests", detail=detail)


def take_unsent(session: Session, *, limit: int) -> list[UUID]:
    """Return the jobs of messages that are due and that no message to a worker was sent for.

    They are marked, so that each is returned once. Of a webhook that is away it is none while it
    rests, then one at each look until somebody has taken the turn.
    """
    oldest = _unsent().order_by(Job.created_at).with_for_update(skip_locked=True, of=Job)
    found = list(session.scalars(oldest.where(Webhook.failures == 0).limit(limit)))
    failing = select(Webhook.id).where(Webhook.failures > 0, IS_RESTED)
    for webhook_id in session.scalars(failing).all():
        of_it = _unsent().where(Webhook.id == webhook_id).limit(1)
        is_test = WebhookDelivery.event == str(Event.WEBHOOK_TEST)  # somebody looks at that one
        # what failed goes behind what was never tried: it may be why
        first = of_it.order_by(is_test.desc(), WebhookDelivery.tries, Job.created_at)
        found += session.scalars(first.with_for_update(skip_locked=True, of=Job))
    if found:
        session.execute(update(Job).where(Job.id.in_(found)).values(sent_at=database_time()))
    return found


def has_unsent(session: Session) -> bool:
    """Tell whether `take_unsent` would return any."""
    sendable = _unsent().where(or_(Webhook.failures == 0, IS_RESTED))
    return session.scalar(sendable.limit(1)) is not None


def _unsent() -> Select[UUID]:
    """Return what selects the jobs that are due and were not sent, with message and webhook."""
    return (
        select(Job.id)
        .join(WebhookDelivery, WebhookDelivery.id == Job.subject_id)
        .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        .where(Job.kind == JobKind.DELIVER, Job.state == JobState.QUEUED, Job.sent_at.is_(None))
        .where(Job.not_before.is_(None) | (Job.not_before <= database_time()))
    )


def forget_deliveries(session: Session, *, older_than_s: float, limit: int = 1000) -> None:
    """Forget messages that ended long ago, with their jobs; some at a time."""
    ended = select(WebhookDelivery.id).where(
        WebhookDelivery.state != DeliveryState.WAITING,
        WebhookDelivery.created_at < utc_now() - timedelta(seconds=older_than_s),
    )
    old = list(session.scalars(ended.limit(limit)))
    if old:
        session.execute(delete(Job).where(Job.kind == JobKind.DELIVER, Job.subject_id.in_(old)))
        session.execute(delete(WebhookDelivery).where(WebhookDelivery.id.in_(old)))


def _count_try(session: Session, job: Job, sent: Sent, *, count: int = 1) -> WebhookDelivery:
    delivery = session.get_one(WebhookDelivery, job.subject_id)
    delivery.tries += count
    delivery.status = sent.status
    delivery.detail = sent.detail[:MAX_DETAIL] if sent.detail else None
    return delivery


def _close(session: Session, job: Job) -> None:
    job.state, job.progress, job.stage = JobState.DONE, 1.0, None
    job.reason = job.detail = job.lease_until = None
    session.flush()
    session.execute(update(Job).where(Job.id == job.id).values(finished_at=database_time()))
