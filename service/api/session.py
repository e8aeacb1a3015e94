"""/v1/session: a browser logs in with a one-time link, and out again."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Cookie, Request, Response
from pydantic import BaseModel, Field, StringConstraints

from service import access
from service.access import Scope
from service.api import problems
from service.api.auditing import actor_of
from service.api.deps import (
    COOKIE,
    PrincipalDep,
    StateDep,
    check_origin,
    failures_counted,
    is_https,
)
from service.api.schemas import Body
from service.errors import ForbiddenError, TooManyRequestsError, UnauthenticatedError

router = APIRouter(prefix="/v1/session", tags=["session"])


class LoginIn(Body):
    """The secret of a login link."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class SessionOut(BaseModel):
    """Who is logged in."""

    scopes: list[Scope] = Field(description="What may be done.")


@router.post(
    "", responses=problems.responses(UnauthenticatedError, ForbiddenError, TooManyRequestsError)
)
def log_in(login: LoginIn, request: Request, response: Response, state: StateDep) -> SessionOut:
    """Exchange the secret of a one-time link (`/#login=TOKEN`) for a session cookie."""
    if "origin" in request.headers:
        check_origin(request, state.settings)
    ttl_s = state.settings.session_ttl_s
    with failures_counted(request, state):
        token = access.redeem_login_token(
            state.sessions,
            login.token,
            session_ttl_s=ttl_s,
            actor=actor_of(request, "login-link"),
        )
    response.set_cookie(
        COOKIE,
        token,
        max_age=ttl_s,
        path="/",
        httponly=True,
        samesite="strict",
        secure=is_https(request, state.settings),
    )
    response.headers["Cache-Control"] = "no-store"
    with state.reads() as session:
        return SessionOut(scopes=sorted(access.authenticate_session(session, token).scopes))


@router.get("", responses=problems.responses(UnauthenticatedError))
def read_session(principal: PrincipalDep) -> SessionOut:
    """Return what the caller may do."""
    return SessionOut(scopes=sorted(principal.scopes))


@router.delete("", status_code=HTTPStatus.NO_CONTENT, responses=problems.responses(ForbiddenError))
def log_out(
    request: Request,
    response: Response,
    state: StateDep,
    session_token: Annotated[str | None, Cookie(alias=COOKIE, max_length=200)] = None,
) -> None:
    """End the session of this browser."""
    if session_token:
        check_origin(request, state.settings)
        access.end_session(state.sessions, session_token)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
