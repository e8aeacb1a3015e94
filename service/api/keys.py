"""/v1/keys: API keys, for admins."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field, StringConstraints

from service import access
from service.access import Scope
from service.api import problems
from service.api.deps import AdminAccess, ReadSessionDep, StateDep
from service.api.once import ONCE, SHOWS_A_SECRET
from service.api.schemas import Body, Storable
from service.catalog.tables import ApiKey
from service.errors import ForbiddenError, NotFoundError, UnauthenticatedError

router = APIRouter(
    prefix="/v1/keys",
    tags=["keys"],
    responses=problems.responses(UnauthenticatedError, ForbiddenError),
)


class KeyIn(Body):
    """A key to be made."""

    name: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), Storable
    ]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]


class KeyOut(BaseModel):
    """One key, without its secret."""

    id: UUID
    name: str
    scopes: list[Scope]
    created_at: datetime


class NewKeyOut(KeyOut):
    """A key that was just made."""

    key: str = Field(description="The secret; it is shown only now.")


class KeyList(BaseModel):
    """The keys that were not revoked, oldest first."""

    keys: list[KeyOut]


@router.get("")
def list_keys(session: ReadSessionDep, _access: AdminAccess) -> KeyList:
    """Return the keys that were not revoked."""
    return KeyList(keys=[_key_out(key) for key in access.list_keys(session)])


@router.post("", status_code=HTTPStatus.CREATED, dependencies=[ONCE, SHOWS_A_SECRET])
def create_key(body: KeyIn, response: Response, state: StateDep, _access: AdminAccess) -> NewKeyOut:
    """Make a key; its secret is in this answer alone."""
    made = access.make_key(state.sessions, name=body.name, scopes=tuple(body.scopes))
    response.headers["Cache-Control"] = "no-store"
    response.headers["Location"] = f"/v1/keys/{made.key.id}"
    return NewKeyOut(**dict(_key_out(made.key)), key=made.secret)


@router.delete(
    "/{key_id}", status_code=HTTPStatus.NO_CONTENT, responses=problems.responses(NotFoundError)
)
def revoke_key(key_id: UUID, state: StateDep, _access: AdminAccess) -> None:
    """Revoke a key, from now on."""
    access.revoke_key(state.sessions, key_id)


def _key_out(key: ApiKey) -> KeyOut:
    return KeyOut(
        id=key.id,
        name=key.name,
        scopes=[Scope(one) for one in key.scopes],
        created_at=key.created_at,
    )
