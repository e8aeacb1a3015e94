"""/v1/audit-events: what administrators did, for administrators."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, StringConstraints

from service import audit_log
from service.api import problems
from service.api.deps import AdminAccess, ReadSessionDep, StateDep
from service.api.schemas import Cursor, Storable
from service.errors import (
    BadRequestError,
    ForbiddenError,
    InvalidInputError,
    TooManyRequestsError,
    UnauthenticatedError,
)

router = APIRouter(
    prefix="/v1/audit-events",
    tags=["keys"],
    responses=problems.responses(
        BadRequestError,
        UnauthenticatedError,
        ForbiddenError,
        InvalidInputError,
        TooManyRequestsError,
    ),
)

Word = Annotated[str, StringConstraints(min_length=1, max_length=64), Storable]


class AuditEventOut(BaseModel):
    """One action."""

    id: UUID
    at: datetime
    actor: str = Field(
        description="Id of the API key; or `settings`, `session:...`, `oidc:...`, `command:USER`, "
        "`start`."
    )
    action: str = Field(description="As `create_key`.")
    subject: str | None = Field(description="Id of what it was done to.")
    detail: dict[str, Any] | None
    request_id: str | None
    address: str | None = Field(description="Where the request came from.")


class AuditEventPage(BaseModel):
    """Some events, newest first."""

    events: list[AuditEventOut]
    next_cursor: str | None


@router.get("")
def list_audit_events(
    *,
    state: StateDep,
    _access: AdminAccess,
    session: ReadSessionDep,
    limit: Annotated[int, Query(ge=1, le=audit_log.MAX_PAGE)] = 50,
    cursor: Cursor | None = None,
    action: Annotated[Word | None, Query(description="Only those of this action.")] = None,
    actor: Annotated[Word | None, Query(description="Only those of this actor.")] = None,
) -> AuditEventPage:
    """Return what administrators did, newest first."""
    page = audit_log.list_events(
        session, secret=state.cursor_key, limit=limit, cursor=cursor, action=action, actor=actor
    )
    return AuditEventPage(
        events=[AuditEventOut.model_validate(one, from_attributes=True) for one in page.events],
        next_cursor=page.next_cursor,
    )
