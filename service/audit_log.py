"""Who did what: every action of an administrator leaves one row that nobody changes."""

import getpass
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from service.catalog import audit_log_queries
from service.catalog.audit_log_queries import After
from service.catalog.door_tables import AuditEvent
from service.cursors import decode_cursor, encode_cursor

MAX_PAGE = 200
MAX_ACTION, MAX_SUBJECT, MAX_ACTOR = 64, 128, 64
CURSOR = "audit-events"


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who does something.

    Attributes:
        id: the `key_id` of a principal, or `command:` and the user of the machine.
        address: where the request came from.
        request_id: the X-Request-Id of the request.
    """

    id: str
    address: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class EventPage:
    """Some events, newest first."""

    events: list[AuditEvent]
    next_cursor: str | None


def command_actor() -> Actor:
    """Return who runs a command on this machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        user = "unknown"
    return Actor(id=f"command:{user}"[:MAX_ACTOR])


def record(
    session: Session,
    actor: Actor,
    action: str,
    *,
    subject: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Write what was done, in the transaction that does it.

    Args:
        session: a transaction that writes.
        actor: who does it.
        action: what, as `create_key`.
        subject: id of what it is done to.
        detail: what else is worth knowing; never a secret.
    """
    audit_log_queries.add_event(
        session,
        {
            "actor": actor.id[:MAX_ACTOR],
            "action": action[:MAX_ACTION],
            "subject": subject[:MAX_SUBJECT] if subject else None,
            "detail": detail,
            "request_id": actor.request_id,
            "address": actor.address,
        },
    )


def list_events(
    session: Session,
    *,
    secret: bytes,
    limit: int,
    cursor: str | None = None,
    action: str | None = None,
    actor: str | None = None,
) -> EventPage:
    """Return some events, newest first.

    Args:
        session: any session.
        secret: signs the cursor.
        limit: how many at most.
        cursor: where the page before ended.
        action: only those of this action.
        actor: only those of this actor.

    Raises:
        BadRequestError: the cursor is not one of ours.
    """
    after = None
    if cursor is not None:
        at, event_id = decode_cursor(secret, CURSOR, cursor)
        after = After(datetime.fromisoformat(at), UUID(event_id))
    found = audit_log_queries.list_events(
        session, limit=limit + 1, after=after, action=action, actor=actor
    )
    events = found[:limit]
    is_last = len(found) <= limit
    last = None if is_last else [events[-1].at.isoformat(), str(events[-1].id)]
    return EventPage(
        events=events, next_cursor=None if last is None else encode_cursor(secret, CURSOR, last)
    )
