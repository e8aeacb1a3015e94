"""/v1/keys: API keys, for admins."""

from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, StringConstraints

from service import access
from service.access import Limits, NewKey, Scope
from service.access.keys import MAX_EXPIRES_IN_S, MAX_GRACE_S
from service.api import problems
from service.api.auditing import actor_of
from service.api.deps import KeyAdmin, ReadSessionDep, StateDep
from service.api.once import ONCE, SHOWS_A_SECRET
from service.api.schemas import INTEGER_LIMIT, Body, Storable
from service.catalog.door_tables import ApiKey
from service.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    TooManyRequestsError,
    UnauthenticatedError,
)

router = APIRouter(
    prefix="/v1/keys",
    tags=["keys"],
    responses=problems.responses(UnauthenticatedError, ForbiddenError, TooManyRequestsError),
)

Rate = Annotated[int | None, Field(strict=True, ge=0, le=1_000_000)]


class LimitsBody(Body):
    """What a key may use where that differs from the settings; 0: any number."""

    requests_per_minute: Rate = None
    searches_per_minute: Rate = None
    upload_bytes_per_day: Annotated[int | None, Field(strict=True, ge=0, lt=INTEGER_LIMIT)] = None


class KeyIn(Body):
    """A key to be made."""

    name: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), Storable
    ]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
    expires_in_s: Annotated[
        int | None,
        Field(strict=True, ge=1, le=MAX_EXPIRES_IN_S, description="When it ends; null: never."),
    ] = None
    limits: LimitsBody | None = None


class RotationIn(Body):
    """How a key is replaced."""

    grace_s: Annotated[
        int,
        Field(strict=True, ge=0, le=MAX_GRACE_S, description="How long the old key still works."),
    ] = 86400


class KeyOut(BaseModel):
    """One key, without its secret."""

    id: UUID
    name: str
    scopes: list[Scope]
    limits: LimitsBody | None
    created_by: str | None = Field(description="As `actor` of an audit event.")
    created_at: datetime
    expires_at: datetime | None = Field(description="When it ends, or ended; null: never.")
    last_used_at: datetime | None = Field(description="Within a minute or so.")
    rotated_to: UUID | None = Field(description="The key that takes its place.")


class NewKeyOut(KeyOut):
    """A key that was just made."""

    key: str = Field(description="The secret; it is shown only now.")


class KeyList(BaseModel):
    """The keys that were not revoked, oldest first; those that have expired are among them."""

    keys: list[KeyOut]


@router.get("")
def list_keys(session: ReadSessionDep, _access: KeyAdmin) -> KeyList:
    """Return the keys that were not revoked."""
    return KeyList(keys=[_key_out(key) for key in access.list_keys(session)])


@router.post("", status_code=HTTPStatus.CREATED, dependencies=[ONCE, SHOWS_A_SECRET])
def create_key(
    body: KeyIn, request: Request, response: Response, state: StateDep, principal: KeyAdmin
) -> NewKeyOut:
    """Make a key; its secret is in this answer alone."""
    made = access.make_key(
        state.sessions,
        name=body.name,
        scopes=tuple(body.scopes),
        expires_in_s=body.expires_in_s,
        limits=Limits(**body.limits.model_dump()) if body.limits else Limits(),
        actor=actor_of(request, principal.key_id),
    )
    return _show_once(made, response)


@router.post(
    "/{key_id}/rotate",
    status_code=HTTPStatus.CREATED,
    dependencies=[ONCE, SHOWS_A_SECRET],
    responses=problems.responses(NotFoundError, ConflictError),
)
def rotate_key(
    *,
    key_id: UUID,
    request: Request,
    response: Response,
    state: StateDep,
    principal: KeyAdmin,
    body: RotationIn | None = None,
) -> NewKeyOut:
    """Make a key with the same name, scopes and limits; the old one ends after a grace time."""
    made = access.rotate_key(
        state.sessions,
        key_id,
        grace_s=(body or RotationIn()).grace_s,
        actor=actor_of(request, principal.key_id),
    )
    return _show_once(made, response)


@router.delete(
    "/{key_id}", status_code=HTTPStatus.NO_CONTENT, responses=problems.responses(NotFoundError)
)
def revoke_key(key_id: UUID, request: Request, state: StateDep, principal: KeyAdmin) -> None:
    """Revoke a key, from now on."""
    access.revoke_key(state.sessions, key_id, actor=actor_of(request, principal.key_id))


def _show_once(made: NewKey, response: Response) -> NewKeyOut:
    response.headers["Cache-Control"] = "no-store"
    response.headers["Location"] = f"/v1/keys/{made.key.id}"
    return NewKeyOut(**dict(_key_out(made.key)), key=made.secret)


def _key_out(key: ApiKey) -> KeyOut:
    return KeyOut(
        id=key.id,
        name=key.name,
        scopes=[Scope(one) for one in key.scopes],
        limits=LimitsBody.model_validate(asdict(Limits.of(key.limits))) if key.limits else None,
        created_by=key.created_by,
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        rotated_to=key.rotated_to,
    )
