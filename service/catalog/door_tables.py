"""Who did what: the audit log, and what each key has used of its quotas."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.catalog.tables import Base, utc_now


class AuditEvent(Base):
    """One action of an administrator, or a refusal worth knowing; never changed afterwards."""

    __tablename__ = "audit_events"
    __table_args__ = (Index("ix_audit_events_listing", "at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    at: Mapped[datetime] = mapped_column(default=utc_now)
    actor: Mapped[str] = mapped_column(String(64))
    """Id of the API key, `settings`, `session:...`, `oidc:...` or `command`."""
    action: Mapped[str] = mapped_column(String(64))
    """What was done, as `key.create`."""
    subject: Mapped[str | None] = mapped_column(String(128))
    """Id of what it was done to."""
    detail: Mapped[dict[str, Any] | None]
    """What else is worth knowing; never a secret."""
    request_id: Mapped[str | None] = mapped_column(String(64))
    address: Mapped[str | None] = mapped_column(Text)
    """Where the request came from."""


class Usage(Base):
    """What a key used of a quota in one window of time."""

    __tablename__ = "usage"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    """What is counted, as `upload_bytes`."""
    window: Mapped[str] = mapped_column(String(32), primary_key=True)
    """When, as the day `2026-01-31`."""
    amount: Mapped[int] = mapped_column(BigInteger)
