"""The audit log: rows are added and read, never changed."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from service.catalog.door_tables import AuditEvent


class After(NamedTuple):
    """Where the next page begins: after this event."""

    at: datetime
    id: UUID


def add_event(session: Session, values: dict[str, Any]) -> AuditEvent:
    """Write what was done."""
    event = AuditEvent(**values)
    session.add(event)
    session.flush()
    return event


def list_events(
    session: Session,
    *,
    limit: int,
    after: After | None = None,
    action: str | None = None,
    actor: str | None = None,
) -> list[AuditEvent]:
    """Return some events, newest first."""
    statement = select(AuditEvent).order_by(AuditEvent.at.desc(), AuditEvent.id.desc())
    if after is not None:
        statement = statement.where(tuple_(AuditEvent.at, AuditEvent.id) < (after.at, after.id))
    if action is not None:
        statement = statement.where(AuditEvent.action == action)
    if actor is not None:
        statement = statement.where(AuditEvent.actor == actor)
    return list(session.scalars(statement.limit(limit)))
