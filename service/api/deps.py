"""What routes ask for: the shared state, transactions, and who is asking."""

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPBearer
from sqlalchemy.orm import Session

from service import access
from service.access import Principal, Scope
from service.api.state import State
from service.errors import ForbiddenError, UnauthenticatedError
from service.settings import Settings

COOKIE = "reelseek_session"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

_bearer = HTTPBearer(auto_error=False, description="An API key.")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="A browser's session.")


async def get_state(request: Request) -> State:
    """Return what all requests share."""
    state: State = request.app.state.shared
    return state


StateDep = Annotated[State, Depends(get_state)]


def get_read_session(state: StateDep) -> Iterator[Session]:
    """Give the route one transaction that only reads."""
    with state.reads() as session:
        yield session


# scope="function": the transaction is over before the answer is sent, however long that takes
ReadSessionDep = Annotated[Session, Depends(get_read_session, scope="function")]


def get_principal(
    request: Request,
    state: StateDep,
    _bearer_key: Annotated[object, Depends(_bearer)],
    session_token: Annotated[str | None, Depends(_cookie)],
) -> Principal:
    """Find out who is asking, by API key or by the cookie of a browser.

    Raises:
        UnauthenticatedError: nobody we know.
        ForbiddenError: another site made the browser send this.
    """
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, key = header.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise UnauthenticatedError("Send the API key as `Authorization: Bearer KEY`.")
        with state.reads() as session:
            return access.authenticate(session, key.strip(), settings=state.settings)
    if session_token:
        if request.method not in SAFE_METHODS:
            check_origin(request, state.settings)
        with state.reads() as session:
            return access.authenticate_session(session, session_token)
    raise UnauthenticatedError(
        "This needs an API key, sent as `Authorization: Bearer KEY`, or a login."
    )


PrincipalDep = Annotated[Principal, Depends(get_principal)]


class Require:
    """A dependency: the caller has one of these scopes, or is an admin."""

    def __init__(self, *scopes: Scope) -> None:
        self.scopes = scopes

    async def __call__(self, principal: PrincipalDep) -> Principal:
        """Check the caller of a route."""
        return self.check(principal)

    def check(self, principal: Principal) -> Principal:
        """Return who is asking.

        Raises:
            ForbiddenError: the key lacks the scope.
        """
        if any(principal.may(scope) for scope in self.scopes):
            return principal
        needed = " or ".join(self.scopes)
        raise ForbiddenError(f"This needs a key with the scope {needed}.")


SearchAccess = Annotated[Principal, Depends(Require(Scope.SEARCH))]
ReadAccess = Annotated[Principal, Depends(Require(Scope.READ))]
MediaAccess = Annotated[Principal, Depends(Require(Scope.READ, Scope.SEARCH))]
"""Whoever may search may also look at what was found."""
WriteAccess = Annotated[Principal, Depends(Require(Scope.WRITE))]
AdminAccess = Annotated[Principal, Depends(Require(Scope.ADMIN))]


def key_of(principal: Principal) -> UUID | None:
    """Return the API key that asks; the key of the settings and browsers have none to name."""
    try:
        return UUID(principal.key_id)
    except ValueError:
        return None


def check_origin(request: Request, settings: Settings) -> None:
    """Make sure that our own page sent this, where a cookie is the proof of who sent it.

    Browsers name the origin of every request that is not a GET or HEAD (Fetch, 3.2).

    Raises:
        ForbiddenError: another site sent it, or who knows.
    """
    own = {f"{request.url.scheme}://{request.headers.get('host', '')}"}
    if settings.public_url:
        public = urlsplit(settings.public_url)
        own.add(f"{public.scheme}://{public.netloc}")
    if request.headers.get("origin") not in own:
        raise ForbiddenError(
            "This came from another site. Programs should send an API key, not a cookie.",
            reason="cross_site_request",
        )


def is_https(request: Request, settings: Settings) -> bool:
    """Tell whether the browser speaks TLS, to us or to the proxy before us."""
    return request.url.scheme == "https" or (settings.public_url or "").startswith("https://")
