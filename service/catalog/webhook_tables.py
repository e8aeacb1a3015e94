"""Webhooks: who wants to be told of what, and what was told."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.catalog.tables import Base, named, utc_now


class DeliveryState(StrEnum):
    """What became of a message."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class Webhook(Base):
    """An address that is told of events."""

    __tablename__ = "webhooks"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    url: Mapped[str] = mapped_column(Text)
    events: Mapped[list[str]]
    """Types of events; `*` is all."""
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    """Signs its messages, so it can't be kept as a digest."""
    old_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    """That of before the last rotation; it signs, too, for a while."""
    old_secret_until: Mapped[datetime | None]
    is_enabled: Mapped[bool] = mapped_column(default=True)
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    """Since it last took a message."""
    failing_since: Mapped[datetime | None]
    rests_until: Mapped[datetime | None]
    """Nothing is sent to it before."""
    created_by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    deleted_at: Mapped[datetime | None]


class WebhookDelivery(Base):
    """One message to one webhook; its job (kind `deliver`) says when it is tried."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index("ix_webhook_deliveries_listing", "webhook_id", "created_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("webhooks.id"))
    event: Mapped[str] = mapped_column(String(64))
    payload: Mapped[dict[str, Any]]
    state: Mapped[DeliveryState] = mapped_column(
        named(DeliveryState), default=DeliveryState.WAITING
    )
    tries: Mapped[int] = mapped_column(default=0)
    status: Mapped[int | None]
    """HTTP status of the last answer."""
    detail: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    delivered_at: Mapped[datetime | None]
