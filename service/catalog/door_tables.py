"""Who may come in, who did what, and what each key has used of its quotas."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.catalog.tables import Base, utc_now


class ApiKey(Base):
    """One API key; only its digest is kept."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]]
    limits: Mapped[dict[str, Any] | None]
    """Rates and quotas of its own; None: those of the settings."""
    created_by: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """Within a minute or so: a write for each request would cost too much."""
    rotated_to: Mapped[UUID | None]
    """The key that takes its place; this one works until it expires."""
    revoked_at: Mapped[datetime | None]


class LoginToken(Base):
    """The secret of a one-time login link, or of the browser session made from it."""

    __tablename__ = "login_tokens"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(16))
    """`link` (used once) or `session` (a cookie)."""
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Secret(Base):
    """A random value that all processes share, as the key that signs cursors."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)


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
