"""/v1/webhooks: who is told of what happens here, for admins."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from service.api import problems
from service.api.deps import AdminAccess, ReadSessionDep, StateDep
from service.api.once import ONCE, SHOWS_A_SECRET
from service.api.schemas import Cursor
from service.api.state import State
from service.api.webhook_schemas import (
    DeliveryOut,
    DeliveryPage,
    NewWebhookOut,
    WebhookIn,
    WebhookLinks,
    WebhookList,
    WebhookOut,
    WebhookPatch,
)
from service.catalog import webhook_queries
from service.catalog.webhook_rest_queries import failing_since
from service.catalog.webhook_tables import DeliveryState, Webhook
from service.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
)
from service.outbound import Policy
from service.webhooks import managing
from service.webhooks.managing import Changes, ShownDelivery
from service.webhooks.signing import message_id_of

router = APIRouter(
    prefix="/v1/webhooks",
    tags=["webhooks"],
    responses=problems.responses(UnauthenticatedError, ForbiddenError, InvalidInputError),
)


@router.get("")
def list_webhooks(session: ReadSessionDep, _access: AdminAccess) -> WebhookList:
    """Return the webhooks."""
    found = webhook_queries.list_webhooks(session)
    return WebhookList(webhooks=[_webhook_out(one) for one in found])


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    dependencies=[ONCE, SHOWS_A_SECRET],
    responses=problems.responses(ConflictError),
)
def create_webhook(
    body: WebhookIn, response: Response, state: StateDep, principal: AdminAccess
) -> NewWebhookOut:
    """Tell an address of events from now on; the secret is in this answer alone."""
    made = managing.create_webhook(
        state.sessions,
        _policy(state),
        url=body.url,
        events=body.events,
        created_by=principal.key_id,
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["Location"] = f"/v1/webhooks/{made.webhook.id}"
    return NewWebhookOut(**dict(_webhook_out(made.webhook)), secret=made.secret)


@router.get("/{webhook_id}", responses=problems.responses(NotFoundError))
def read_webhook(webhook_id: UUID, session: ReadSessionDep, _access: AdminAccess) -> WebhookOut:
    """Return one webhook."""
    return _webhook_out(webhook_queries.get_webhook(session, webhook_id))


@router.patch("/{webhook_id}", responses=problems.responses(NotFoundError))
def patch_webhook(
    webhook_id: UUID, patch: WebhookPatch, state: StateDep, _access: AdminAccess
) -> WebhookOut:
    """Change the address or the events of a webhook, or enable or disable it."""
    changes = Changes(url=patch.url, events=patch.events, is_enabled=patch.is_enabled)
    changed = managing.change_webhook(state.sessions, _policy(state), webhook_id, changes)
    return _webhook_out(changed)


@router.delete(
    "/{webhook_id}", status_code=HTTPStatus.NO_CONTENT, responses=problems.responses(NotFoundError)
)
def delete_webhook(webhook_id: UUID, state: StateDep, _access: AdminAccess) -> None:
    """Tell a webhook of nothing more, not even of what waits."""
    managing.delete_webhook(state.sessions, webhook_id)


@router.post(
    "/{webhook_id}/rotate",
    dependencies=[ONCE, SHOWS_A_SECRET],
    responses=problems.responses(NotFoundError, ConflictError),
)
def rotate_secret(
    webhook_id: UUID, response: Response, state: StateDep, _access: AdminAccess
) -> NewWebhookOut:
    """Give a webhook a new secret, shown in this answer alone; for a while both sign."""
    made = managing.rotate_secret(
        state.sessions,
        webhook_id,
        overlap_s=state.settings.webhook_secret_overlap_s,
    )
    response.headers["Cache-Control"] = "no-store"
    return NewWebhookOut(**dict(_webhook_out(made.webhook)), secret=made.secret)


@router.post(
    "/{webhook_id}/test",
    status_code=HTTPStatus.ACCEPTED,
    dependencies=[ONCE],
    responses=problems.responses(NotFoundError, ConflictError),
)
def send_test(
    webhook_id: UUID, response: Response, state: StateDep, _access: AdminAccess
) -> DeliveryOut:
    """Send the webhook a message that says nothing."""
    delivery = managing.send_test(state.sessions, webhook_id)
    response.headers["Location"] = f"/v1/webhooks/{webhook_id}/deliveries"
    return _delivery_out(ShownDelivery(delivery=delivery, next_try_at=None))


@router.get(
    "/{webhook_id}/deliveries", responses=problems.responses(NotFoundError, BadRequestError)
)
def list_deliveries(
    *,
    webhook_id: UUID,
    state: StateDep,
    session: ReadSessionDep,
    _access: AdminAccess,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Cursor | None = None,
    delivery_state: Annotated[DeliveryState | None, Query(alias="state")] = None,
) -> DeliveryPage:
    """Return what a webhook was told, and what it is to be told, newest first."""
    page = managing.list_deliveries(
        session,
        webhook_id,
        secret=state.cursor_key,
        limit=limit,
        cursor=cursor,
        state=delivery_state,
    )
    return DeliveryPage(
        deliveries=[_delivery_out(one) for one in page.deliveries], next_cursor=page.next_cursor
    )


def _policy(state: State) -> Policy:
    settings = state.settings
    return Policy.of(allow=settings.outbound_allow, ports=settings.outbound_ports)


def _webhook_out(webhook: Webhook) -> WebhookOut:
    here = f"/v1/webhooks/{webhook.id}"
    return WebhookOut(
        id=webhook.id,
        url=webhook.url,
        events=webhook.events,
        is_enabled=webhook.is_enabled,
        disabled_reason=webhook.disabled_reason,
        failing_since=failing_since(webhook),
        rests_until=webhook.rests_until if failing_since(webhook) else None,
        old_secret_until=webhook.old_secret_until,
        created_at=webhook.created_at,
        links=WebhookLinks(self=here, deliveries=f"{here}/deliveries"),
    )


def _delivery_out(shown: ShownDelivery) -> DeliveryOut:
    delivery = shown.delivery
    return DeliveryOut(
        id=delivery.id,
        event=delivery.event,
        message_id=message_id_of(delivery.id),
        state=delivery.state,
        tries=delivery.tries,
        status=delivery.status,
        detail=delivery.detail,
        payload=delivery.payload,
        created_at=delivery.created_at,
        delivered_at=delivery.delivered_at,
        next_try_at=shown.next_try_at,
    )
