"""Webhooks that are away rest, so that waiting for them holds up no courier.

While one rests nothing is sent to it. Then one message is tried, and nothing else meanwhile: if the
webhook is back everything that waited goes out, else it rests for longer.
"""

from datetime import datetime, timedelta
from http import HTTPStatus
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from service.catalog.clock import database_time
from service.catalog.tables import Job, JobKind, JobState, utc_now
from service.catalog.webhook_tables import DeliveryState, Webhook, WebhookDelivery

AWAY = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
"""With what a server says that it takes nothing now; with others that it does not take this."""
RESTS_S = (5.0, 15.0, 60.0, 300.0)
"""After one failure, two, three, and more."""
MAX_REST_S = 3600.0
"""However long the webhook asks to be left alone."""
LONGEST_REST_S = 2 * MAX_REST_S
"""Whoever rests for longer began before the clock was set back."""
DISABLED_AFTER_S = 3 * 86400.0
"""A webhook that was away for so long, and was tried all the time, is disabled."""
FORGOTTEN_AFTER_S = 86400.0
"""When nothing was tried for so long, what failed before says nothing about today."""
NOTHING_FAILED = {"failures": 0, "failing_since": None, "rests_until": None}

IS_RESTED = or_(
    Webhook.rests_until.is_(None),
    Webhook.rests_until <= database_time(),
    Webhook.rests_until > database_time(LONGEST_REST_S),
)
IS_FAILING = and_(
    Webhook.failing_since.is_not(None), Webhook.rests_until > database_time(-FORGOTTEN_AFTER_S)
)


def is_away(status: int | None) -> bool:
    """Tell whether a webhook that answered so would have taken no other message either.

    Args:
        status: HTTP status of its answer; None if there was none.
    """
    return status is None or status in AWAY


def failing_since(webhook: Webhook) -> datetime | None:
    """Return since when a webhook is away, as far as anything was tried lately."""
    rests_until = webhook.rests_until
    is_old = rests_until is None or utc_now() - rests_until > timedelta(seconds=FORGOTTEN_AFTER_S)
    return None if is_old else webhook.failing_since


def take_turn(session: Session, webhook_id: UUID, *, for_s: float) -> bool:
    """Tell whether a failing webhook may be tried now; nobody else may for so many seconds."""
    taken = session.scalar(
        update(Webhook)
        .where(Webhook.id == webhook_id, IS_RESTED)
        .values(rests_until=database_time(for_s))
        .returning(Webhook.id)
    )
    return taken is not None


def note_failure(session: Session, webhook: Webhook, *, retry_after_s: int | None) -> None:
    """Let a webhook rest that is away.

    Of several messages that were on their way when it went the first one counts; what changed
    meanwhile, as its address, is not blamed for it.

    Args:
        session: a writing session.
        webhook: as it was loaded before the try.
        retry_after_s: how long it asks to be left alone, if it did.
    """
    since = failing_since(webhook)
    if since is not None and utc_now() - since > timedelta(seconds=DISABLED_AFTER_S):
        days = round(DISABLED_AFTER_S / 86400)
        disable_webhook(session, webhook, reason=f"It took nothing for {days} days.")
        return
    failures = webhook.failures if since else 0
    rest_s = RESTS_S[min(failures, len(RESTS_S) - 1)]
    rest_s = max(rest_s, min(float(retry_after_s or 0), MAX_REST_S))
    failed = update(Webhook).where(_is_still(webhook), Webhook.failures == webhook.failures)
    session.execute(
        failed.values(
            failures=failures + 1,
            failing_since=since or database_time(),
            rests_until=database_time(rest_s),
        )
    )


def note_answer(session: Session, webhook: Webhook) -> None:
    """Send a webhook that answers again all that waited for it.

    Args:
        session: a writing session.
        webhook: as it was loaded before the try.
    """
    if _change(session, webhook, **NOTHING_FAILED):
        release_messages(session, webhook.id, most_tries=webhook.failures)


def disable_webhook(session: Session, webhook: Webhook, *, reason: str) -> bool:
    """Tell a webhook of nothing more until an admin enables it again; what waits is given up.

    Returns:
        Whether it is still the webhook that was tried: at its address, and told of events.

    Args:
        session: a writing session.
        webhook: as it was loaded before the try.
        reason: a sentence for the admin.
    """
    changed = _change(session, webhook, is_enabled=False, disabled_reason=reason, **NOTHING_FAILED)
    if changed:
        release_messages(session, webhook.id)
    return changed


def release_messages(session: Session, webhook_id: UUID, *, most_tries: int | None = None) -> None:
    """Let go out now what waits because its webhook was away; what was refused keeps its time.

    Args:
        session: a writing session.
        webhook_id: the webhook.
        most_tries: what failed more often failed by itself, not only while the webhook was away.
    """
    was_away = or_(WebhookDelivery.status.is_(None), WebhookDelivery.status.in_(AWAY))
    waiting = select(WebhookDelivery.id).where(
        WebhookDelivery.webhook_id == webhook_id,
        WebhookDelivery.state == DeliveryState.WAITING,
        was_away,
    )
    if most_tries is not None:
        waiting = waiting.where(WebhookDelivery.tries <= most_tries)
    session.execute(
        update(Job)
        .where(Job.kind == JobKind.DELIVER, Job.state == JobState.QUEUED)
        .where(Job.not_before.is_not(None), Job.subject_id.in_(waiting.scalar_subquery()))
        .values(not_before=None)
    )


def _change(session: Session, webhook: Webhook, **values: object) -> bool:
    changed = session.scalar(
        update(Webhook).where(_is_still(webhook)).values(**values).returning(Webhook.id)
    )
    return changed is not None


def _is_still(webhook: Webhook) -> ColumnElement[bool]:
    """It is told of events, at the address where it was tried."""
    return and_(
        Webhook.id == webhook.id,
        Webhook.url == webhook.url,
        Webhook.is_enabled,
        Webhook.deleted_at.is_(None),
    )
