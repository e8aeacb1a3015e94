"""What clients send and get of webhooks."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from service.api.schemas import Body, Storable
from service.catalog.webhook_queries import Event
from service.catalog.webhook_tables import DeliveryState

MAX_URL = 2048
EVENTS = "Types of events, as `video.ready`; `*` is all of them."

Url = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL), Storable]
EventName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
EventNames = Annotated[list[EventName], Field(min_length=1, max_length=len(Event) + 1)]


class WebhookIn(Body):
    """An address that is to be told of events."""

    url: Url
    events: EventNames = Field(default_factory=lambda: ["*"], description=EVENTS)


class WebhookPatch(Body):
    """What is to change; what is left out or null stays."""

    url: Url | None = None
    events: EventNames | None = Field(None, description=EVENTS)
    is_enabled: bool | None = None


class WebhookLinks(BaseModel):
    """Where the parts of a webhook are."""

    self: str
    deliveries: str


class WebhookOut(BaseModel):
    """One webhook, without its secret."""

    id: UUID
    url: str
    events: list[str]
    is_enabled: bool
    disabled_reason: str | None = Field(description="Why we disabled it, if we did.")
    failing_since: datetime | None = Field(
        description="Since then it is away; after three days it is disabled."
    )
    rests_until: datetime | None = Field(
        description="It is away, so that nothing is sent to it before."
    )
    old_secret_until: datetime | None = Field(
        description="Until then the secret from before the last rotation signs, too."
    )
    created_at: datetime
    links: WebhookLinks


class NewWebhookOut(WebhookOut):
    """A webhook whose secret was just made."""

    secret: str = Field(description="Signs its messages; it is shown only now.")


class WebhookList(BaseModel):
    """The webhooks, oldest first."""

    webhooks: list[WebhookOut]


class DeliveryOut(BaseModel):
    """One message to one webhook."""

    id: UUID
    event: str
    message_id: str = Field(description="The header `webhook-id` of each of its tries.")
    state: DeliveryState
    tries: int
    status: int | None = Field(description="HTTP status of the last answer.")
    detail: str | None = Field(description="What was wrong with the last try.")
    payload: dict[str, Any]
    created_at: datetime
    delivered_at: datetime | None
    next_try_at: datetime | None


class DeliveryPage(BaseModel):
    """Some messages, newest first."""

    deliveries: list[DeliveryOut]
    next_cursor: str | None
