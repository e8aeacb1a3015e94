"""Use cases of webhooks: who is told of what."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from service.catalog import webhook_queries
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import utc_now
from service.catalog.webhook_queries import EVERY_EVENT, Event
from service.catalog.webhook_rest_queries import release_messages
from service.catalog.webhook_tables import DeliveryState, Webhook, WebhookDelivery
from service.cursors import decode_cursor, encode_cursor
from service.errors import ConflictError, InvalidInputError
from service.outbound import Policy, parse_url
from service.webhooks.signing import make_secret, show_secret

MAX_WEBHOOKS = 50
MAX_OWNER = 64
CURSOR = "webhook-deliveries"


@dataclass(frozen=True, kw_only=True)
class NewSecret:
    """A webhook with the secret that was just made; it is shown once."""

    webhook: Webhook
    secret: str


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What is to change of a webhook; None leaves it."""

    url: str | None = None
    events: Collection[str] | None = None
    is_enabled: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ShownDelivery:
    """A message, and when it is tried next if it waits."""

    delivery: WebhookDelivery
    next_try_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class DeliveryPage:
    """Some messages, newest first, and where the next page begins."""

    deliveries: list[ShownDelivery]
    next_cursor: str | None


def create_webhook(
    sessions: Sessions, policy: Policy, *, url: str, events: Collection[str], created_by: str
) -> NewSecret:
    """Tell an address of events from now on.

    Raises:
        InvalidInputError: the address cannot be told (a private one, say), or an event is unknown.
        ConflictError: there are as many as there may be.
    """
    checked_url, checked_events = _check_url(url, policy), _check_events(events)
    secret = make_secret()

    def create(session: Session) -> Webhook:
        if len(webhook_queries.list_webhooks(session)) >= MAX_WEBHOOKS:
            raise ConflictError(
                f"There are {MAX_WEBHOOKS} webhooks already; delete one first.",
                reason="too_many_webhooks",
            )
        webhook = Webhook(
            url=checked_url, events=checked_events, secret=secret, created_by=created_by[:MAX_OWNER]
        )
        session.add(webhook)
        session.flush()
        return webhook

    return NewSecret(webhook=in_transaction(sessions, create), secret=show_secret(secret))


def change_webhook(
    sessions: Sessions, policy: Policy, webhook_id: UUID, changes: Changes
) -> Webhook:
    """Change what a webhook is told, and where; enabling it forgets why it was disabled.

    Raises:
        NotFoundError: there is none with this id.
        InvalidInputError: the address cannot be told, or an event is unknown.
    """
    url = None if changes.url is None else _check_url(changes.url, policy)
    events = None if changes.events is None else _check_events(changes.events)

    def change(session: Session) -> Webhook:
        webhook = webhook_queries.get_webhook(session, webhook_id, lock=True)
        webhook.url = url or webhook.url
        webhook.events = events or webhook.events
        if changes.is_enabled is not None:
            webhook.is_enabled = changes.is_enabled
            webhook.disabled_reason = None
        if url is not None or changes.is_enabled is not None:
            # whatever failed before says nothing now
            webhook.failures, webhook.failing_since, webhook.rests_until = 0, None, None
            release_messages(session, webhook_id)
        return webhook

    return in_transaction(sessions, change)


def rotate_secret(sessions: Sessions, webhook_id: UUID, *, overlap_s: float) -> NewSecret:
    """Give a webhook a new secret; for a while the one before signs, too.

    Raises:
        NotFoundError: there is none with this id.
    """
    secret = make_secret()

    def rotate(session: Session) -> Webhook:
        webhook = webhook_queries.get_webhook(session, webhook_id, lock=True)
        webhook.old_secret, webhook.secret = webhook.secret, secret
        webhook.old_secret_until = utc_now() + timedelta(seconds=overlap_s)
        return webhook

    return NewSecret(webhook=in_transaction(sessions, rotate), secret=show_secret(secret))


def delete_webhook(sessions: Sessions, webhook_id: UUID) -> None:
    """Tell a webhook of nothing more, not even of what waits.

    Raises:
        NotFoundError: there is none with this id.
    """
    in_transaction(sessions, lambda session: webhook_queries.delete_webhook(session, webhook_id))


def send_test(sessions: Sessions, webhook_id: UUID) -> WebhookDelivery:
    """Send a message that says nothing, whatever events the webhook wants.

    Raises:
        NotFoundError: there is none with this id.
        ConflictError: it is disabled.
    """

    def test(session: Session) -> WebhookDelivery:
        webhook = webhook_queries.get_webhook(session, webhook_id)
        if not webhook.is_enabled:
            raise ConflictError(
                "The webhook is disabled; enable it first.", reason="webhook_disabled"
            )
        if webhook.rests_until is not None:  # somebody waits for the answer
            webhook.rests_until = min(webhook.rests_until, utc_now())
        data = {"webhook_id": str(webhook_id)}
        return webhook_queries.add_delivery(session, webhook_id, Event.WEBHOOK_TEST, data)

    return in_transaction(sessions, test)


def list_deliveries(
    session: Session,
    webhook_id: UUID,
    *,
    secret: bytes,
    limit: int,
    cursor: str | None = None,
    state: DeliveryState | None = None,
) -> DeliveryPage:
    """Return messages to a webhook, newest first.

    Raises:
        NotFoundError: there is no such webhook.
        BadRequestError: the cursor is not one of this list.
    """
    webhook_queries.get_webhook(session, webhook_id)
    before = None
    kind = f"{CURSOR}:{webhook_id}"
    if cursor is not None:
        created_at, last_id = decode_cursor(secret, kind, cursor)
        before = (datetime.fromisoformat(created_at), UUID(last_id))
    found = webhook_queries.list_deliveries(
        session, webhook_id, state=state, before=before, limit=limit + 1
    )
    next_cursor = None
    if len(found) > limit:
        last = found[limit - 1][0]
        next_cursor = encode_cursor(secret, kind, [last.created_at.isoformat(), str(last.id)])
    shown = [
        ShownDelivery(
            delivery=delivery,
            next_try_at=next_at if delivery.state is DeliveryState.WAITING else None,
        )
        for delivery, next_at in found[:limit]
    ]
    return DeliveryPage(deliveries=shown, next_cursor=next_cursor)


def _check_url(url: str, policy: Policy) -> str:
    target = parse_url(url)
    policy.check_literal(target)  # where a name leads is looked up when it is told something
    return target.url


def _check_events(events: Collection[str]) -> list[str]:
    wanted = list(dict.fromkeys(events))
    known = {EVERY_EVENT, *map(str, Event)}
    unknown = [event for event in wanted if event not in known]
    if unknown or not wanted:
        said = f"There is no event {unknown[0][:50]!r}." if unknown else "No event is named."
        raise InvalidInputError(f"{said} There are: {', '.join(sorted(known))}.")
    return wanted
