"""What routes ask for: the shared state, transactions, and who is asking."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPBearer
from sqlalchemy.orm import Session

from service import access
from service.access import Principal, Scope
from service.api import auditing, rates
from service.api.rates import Policy
from service.api.state import State
from service.errors import ForbiddenError, UnauthenticatedError
from service.settings import Settings

COOKIE = "reelseek_session"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
SEARCHES = "/v1/search"

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
    """Find out who is asking, by API key, token or the cookie of a browser, and count it.

    Raises:
        UnauthenticatedError: nobody we know.
        ForbiddenError: another site made the browser send this.
        TooManyRequestsError: more than the key may send; too many wrong keys from this address.
    """
    header = request.headers.get("authorization")
    with failures_counted(request, state):
        if header is not None:
            principal = _by_header(state, header)
        elif session_token:
            principal = _by_cookie(request, state, session_token)
        else:
            principal = None
    if principal is None:
        raise UnauthenticatedError(
            "This needs an API key, sent as `Authorization: Bearer KEY`, or a login."
        )
    request.state.key_id = principal.key_id
    policy = Policy.SEARCHES if request.url.path.startswith(SEARCHES) else Policy.REQUESTS
    standing = state.rates.count(principal, policy)
    if standing is not None:
        request.state.rate_headers = standing.headers()
    rates.refuse_if_over(standing)
    state.key_use.note(key_of(principal))
    return principal


@contextmanager
def failures_counted(request: Request, state: State) -> Iterator[None]:
    """Count it for the address if nobody we know is asking.

    Raises:
        TooManyRequestsError: instead of UnauthenticatedError, after too many.
    """
    try:
        yield
    except UnauthenticatedError:
        standing = state.rates.count_failure(request.client.host if request.client else None)
        rates.refuse_if_over(standing)
        raise


def _by_header(state: State, header: str) -> Principal:
    scheme, _, key = header.partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise UnauthenticatedError("Send the API key as `Authorization: Bearer KEY`.")
    if state.tokens is not None and state.tokens.is_one(key):
        return state.tokens.authenticate(key)
    with state.reads() as session:
        return access.authenticate(session, key, settings=state.settings)


def _by_cookie(request: Request, state: State, token: str) -> Principal:
    if request.method not in SAFE_METHODS:
        check_origin(request, state.settings)
    elif request.headers.get("sec-fetch-site") == "cross-site":
        raise _cross_site()
    with state.reads() as session:
        return access.authenticate_session(session, token)


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
KeyAdmin = Annotated[Principal, Depends(Require(Scope.ADMIN))]
"""An admin whose use case writes the audit log itself."""


async def audited(request: Request, state: StateDep, principal: KeyAdmin) -> Principal:
    """Let what an admin does be recorded, unless it only reads."""
    if request.method not in SAFE_METHODS:
        auditing.note(request, principal, state.sessions)
    return principal


AdminAccess = Annotated[Principal, Depends(audited)]


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
        raise _cross_site()


def _cross_site() -> ForbiddenError:
    return ForbiddenError(
        "This came from another site. Programs should send an API key, not a cookie.",
        reason="cross_site_request",
    )


def is_https(request: Request, settings: Settings) -> bool:
    """Tell whether the browser speaks TLS, to us or to the proxy before us."""
    return request.url.scheme == "https" or (settings.public_url or "").startswith("https://")
