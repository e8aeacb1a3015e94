"""Webhooks that take nothing rest, so that waiting for them holds up no courier.

While one rests nothing is sent to it. Then one message is tried, and nothing else meanwhile: if it
is taken everything that waited goes out, else the webhook rests for longer.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from service.catalog.clock import database_time
from service.catalog.tables import Job, JobKind, JobState, utc_now
from service.catalog.webhook_tables import DeliveryState, Webhook, WebhookDelivery

RESTS_S = (5.0, 15.0, 60.0, 300.0)
"""After one failure, two, three, and more."""
MAX_REST_S = 3600.0
"""However long the webhook asks to be left alone."""
DISABLED_AFTER_S = 3 * 86400.0
"""A webhook that took nothing for so long is disabled."""
RESTING = "webhook_rests"
"""Reason of the jobs of messages that wait for that alone."""

IS_RESTED = or_(Webhook.rests_until.is_(None), Webhook.rests_until <= database_time())


def take_turn(session: Session, webhook_id: UUID, *, for_s: float) -> bool:
    """Tell whether a failing webhook may be tried now; nobody else may for so many seconds."""
    taken = session.scalar(
        update(Webhook)
        .where(Webhook.id == webhook_id, IS_RESTED)
        .values(rests_until=database_time(for_s))
        .returning(Webhook.id)
    )
    return taken is not None


def note_failure(
    session: Session, webhook: Webhook, *, had_turn: bool, retry_after_s: int | None
) -> None:
    """Let a webhook rest that did not answer, or could not take anything.

    Of several messages that were on their way when it failed the first one counts.

    Args:
        session: a writing session.
        webhook: as it was before the try.
        had_turn: whether the message was the one that was tried.
        retry_after_s: how long it asks to be left alone, if it did.
    """
    since = webhook.failing_since
    if since is not None and utc_now() - since > timedelta(seconds=DISABLED_AFTER_S):
        days = round(DISABLED_AFTER_S / 86400)
        disable_webhook(session, webhook.id, reason=f"It took nothing for {days} days.")
        return
    rest_s = RESTS_S[min(webhook.failures, len(RESTS_S) - 1)]
    rest_s = max(rest_s, min(float(retry_after_s or 0), MAX_REST_S))
    failed = update(Webhook).where(Webhook.id == webhook.id, Webhook.is_enabled)
    session.execute(
        (failed if had_turn else failed.where(IS_RESTED)).values(
            failures=Webhook.failures + 1,
            failing_since=func.coalesce(Webhook.failing_since, database_time()),
            rests_until=database_time(rest_s),
        )
    )


def note_success(session: Session, webhook_id: UUID) -> None:
    """Send a webhook that takes messages again all that waited for it to rest."""
    session.execute(
        update(Webhook)
        .where(Webhook.id == webhook_id)
        .values(failures=0, failing_since=None, rests_until=None)
    )
    waiting = select(WebhookDelivery.id).where(
        WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.state == DeliveryState.WAITING
    )
    session.execute(
        update(Job)
        .where(Job.kind == JobKind.DELIVER, Job.state == JobState.QUEUED, Job.reason == RESTING)
        .where(Job.subject_id.in_(waiting.scalar_subquery()))
        .values(not_before=None, reason=None, detail=None)
    )


def disable_webhook(session: Session, webhook_id: UUID, *, reason: str) -> None:
    """Tell a webhook of nothing more until an admin enables it again."""
    note_success(session, webhook_id)  # what waits is given up at once, not after a rest
    session.execute(
        update(Webhook)
        .where(Webhook.id == webhook_id)
        .values(is_enabled=False, disabled_reason=reason)
    )
