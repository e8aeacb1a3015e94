"""Webhooks, and the events that they are told of in the transaction of what happened.

It imports none of the other queries, because most of them announce something.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.orm import Session

from service.catalog.clock import database_time
from service.catalog.import_tables import ImportItem
from service.catalog.tables import Job, JobKind, JobState, Video, VideoState, utc_now
from service.catalog.tuning_tables import Tuning
from service.catalog.webhook_tables import DeliveryState, Webhook, WebhookDelivery
from service.errors import NotFoundError

EVERY_EVENT = "*"


class Event(StrEnum):
    """What webhooks can be told of."""

    VIDEO_READY = "video.ready"
    VIDEO_PARTIAL = "video.partial"
    VIDEO_FAILED = "video.failed"
    VIDEO_DELETED = "video.deleted"
    TUNING_FINISHED = "tuning.finished"
    MODEL_ACTIVATED = "model.activated"
    IMPORT_FINISHED = "import.finished"
    WEBHOOK_TEST = "webhook.test"


# --- what happened


def announce(session: Session, event: Event, data: Mapping[str, Any]) -> None:
    """Queue a message for every webhook that wants to know; nothing if there is none.

    It is told if the transaction commits, and only then. A courier sees to it within a second.

    Args:
        session: the transaction of what happened.
        event: what happened.
        data: ids and states of it, as JSON holds them.
    """
    enabled = select(Webhook).where(Webhook.is_enabled, Webhook.deleted_at.is_(None))
    wanting = [
        webhook
        for webhook in session.scalars(enabled)
        if event in webhook.events or EVERY_EVENT in webhook.events
    ]
    for webhook in wanting:
        add_delivery(session, webhook.id, event, data)


def add_delivery(
    session: Session, webhook_id: UUID, event: Event, data: Mapping[str, Any]
) -> WebhookDelivery:
    """Queue one message to one webhook."""
    happened_at = utc_now()
    delivery = WebhookDelivery(
        id=uuid4(),
        webhook_id=webhook_id,
        event=str(event),
        payload={"type": str(event), "timestamp": happened_at.isoformat(), "data": dict(data)},
        created_at=happened_at,
    )
    session.add(delivery)
    session.flush()
    session.add(Job(kind=JobKind.DELIVER, subject_id=delivery.id, version=1))
    session.flush()
    return delivery


def announce_video(session: Session, video: Video) -> None:
    """Tell that a video is searchable, could not be processed, or was deleted."""
    events = {
        VideoState.READY: Event.VIDEO_READY,
        VideoState.PARTIAL: Event.VIDEO_PARTIAL,
        VideoState.FAILED: Event.VIDEO_FAILED,
        VideoState.DELETED: Event.VIDEO_DELETED,
    }
    data: dict[str, Any] = {"video_id": str(video.id), "version": video.version}
    if video.state is not VideoState.DELETED:
        data |= {
            "title": video.title,
            "file_name": video.file_name,
            "state": str(video.state),
            "num_segments": video.num_segments,
            "reason": video.reason,
            "detail": video.detail,
        }
    announce(session, events[video.state], data)


def announce_tuning(session: Session, tuning_id: UUID, state: JobState) -> None:
    """Tell that a tuning run has ended, and what came out."""
    candidate = session.scalar(select(Tuning.candidate_version_id).where(Tuning.id == tuning_id))
    data = {
        "tuning_id": str(tuning_id),
        "state": str(state),
        "candidate_version_id": str(candidate) if candidate else None,
    }
    announce(session, Event.TUNING_FINISHED, data)


def announce_import(session: Session, import_id: UUID, state: JobState) -> None:
    """Tell that an import has ended, and what became of its items."""
    counted = select(ImportItem.state, func.count()).where(ImportItem.import_id == import_id)
    counts = {
        str(kind): number for kind, number in session.execute(counted.group_by(ImportItem.state))
    }
    data = {"import_id": str(import_id), "state": str(state), "items": counts}
    announce(session, Event.IMPORT_FINISHED, data)


def announce_failure(session: Session, job: Job) -> None:
    """Tell that a job was given up, in the transaction that closes it."""
    if job.kind is JobKind.TUNE:
        announce_tuning(session, job.subject_id, JobState.FAILED)
    elif job.kind is JobKind.IMPORT:
        announce_import(session, job.subject_id, JobState.FAILED)
    elif job.kind is JobKind.DELIVER:
        give_up_delivery(session, job.subject_id, detail=job.detail)
    elif job.kind is JobKind.INGEST:
        video = session.get(Video, job.subject_id, populate_existing=True)
        is_its_own = video is not None and video.version == job.version
        if video is not None and is_its_own and video.state is VideoState.FAILED:
            announce_video(session, video)


def give_up_delivery(session: Session, delivery_id: UUID, *, detail: str | None) -> None:
    """Let a message be: it was tried often enough, or killed its worker."""
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id, WebhookDelivery.state == DeliveryState.WAITING)
        .values(state=DeliveryState.GIVEN_UP, detail=detail)
    )


# --- who wants to know


def list_webhooks(session: Session) -> Sequence[Webhook]:
    """Return the webhooks that were not deleted, oldest first."""
    found = select(Webhook).where(Webhook.deleted_at.is_(None))
    return session.scalars(found.order_by(Webhook.created_at, Webhook.id)).all()


def get_webhook(session: Session, webhook_id: UUID, *, lock: bool = False) -> Webhook:
    """Return a webhook, locked if asked.

    Raises:
        NotFoundError: there is none with this id, or it was deleted.
    """
    found = select(Webhook).where(Webhook.id == webhook_id, Webhook.deleted_at.is_(None))
    webhook = session.scalar(found.with_for_update() if lock else found)
    if webhook is None:
        raise NotFoundError(f"There is no webhook {webhook_id}.")
    return webhook


def delete_webhook(session: Session, webhook_id: UUID) -> None:
    """Tell a webhook of nothing more, not even of what waits.

    Raises:
        NotFoundError: there is none with this id.
    """
    webhook = get_webhook(session, webhook_id, lock=True)
    webhook.deleted_at, webhook.is_enabled = utc_now(), False
    webhook.secret = b""
    webhook.old_secret = webhook.failing_since = webhook.rests_until = None
    webhook.failures = 0  # a message that is on its way is given up, not kept for after a rest
    session.flush()
    waiting = select(WebhookDelivery.id).where(
        WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.state == DeliveryState.WAITING
    )
    session.execute(
        update(Job)
        .where(Job.kind == JobKind.DELIVER, Job.state == JobState.QUEUED)
        .where(Job.subject_id.in_(waiting.scalar_subquery()))
        .values(state=JobState.CANCELLED, lease_until=None, finished_at=database_time())
    )
    session.execute(
        update(WebhookDelivery)
        .where(
            WebhookDelivery.webhook_id == webhook_id,
            WebhookDelivery.state == DeliveryState.WAITING,
        )
        .values(state=DeliveryState.GIVEN_UP, detail="The webhook was deleted.")
    )


def list_deliveries(
    session: Session,
    webhook_id: UUID,
    *,
    state: DeliveryState | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[tuple[WebhookDelivery, datetime | None]]:
    """Return messages to a webhook, newest first, each with when it is tried next.

    Args:
        session: any session.
        webhook_id: the webhook.
        state: only those in it.
        before: (created_at, id) of the last one of the page before.
        limit: how many at most.
    """
    is_its_job = (Job.subject_id == WebhookDelivery.id) & (Job.kind == JobKind.DELIVER)
    statement = (
        select(WebhookDelivery, Job.not_before, Webhook.rests_until)
        .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        .outerjoin(Job, is_its_job)
        .where(WebhookDelivery.webhook_id == webhook_id)
    )
    if state is not None:
        statement = statement.where(WebhookDelivery.state == state)
    columns = (WebhookDelivery.created_at, WebhookDelivery.id)
    if before is not None:
        statement = statement.where(tuple_(*columns) < tuple_(*before))
    statement = statement.order_by(*(column.desc() for column in columns)).limit(limit)
    return [
        (delivery, max(filter(None, times), default=None))
        for delivery, *times in session.execute(statement)
    ]
