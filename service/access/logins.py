"""One-time login links, browser sessions, and the secrets that all processes share."""

import hmac
import secrets
from datetime import timedelta

from sqlalchemy.orm import Session

from service import audit_log
from service.access.principals import EVERYTHING, Principal, digest_of
from service.audit_log import Actor
from service.catalog import access_queries
from service.catalog.access_queries import TokenPurpose
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import utc_now
from service.errors import UnauthenticatedError

RANDOM_BYTES = 32
STARTING = Actor(id="start")


def make_login_token(sessions: Sessions, *, ttl_s: float, actor: Actor = STARTING) -> str:
    """Make the secret of a one-time link that logs a browser in as admin."""

    def make(session: Session) -> str:
        audit_log.record(session, actor, "make_login_link")
        return _add_token(session, TokenPurpose.LINK, ttl_s)

    return in_transaction(sessions, make)


def redeem_login_token(
    sessions: Sessions, token: str, *, session_ttl_s: float, actor: Actor = STARTING
) -> str:
    """Use up a one-time link, and return the token of the browser session that it begins.

    Raises:
        UnauthenticatedError: it is no link of ours, was used before, or is too old.
    """

    def redeem(session: Session) -> str:
        if not access_queries.take_token(session, digest_of(token), TokenPurpose.LINK):
            raise UnauthenticatedError(
                "This link was used before or is too old. Make another with `reelseek login`.",
                reason="bad_login_link",
            )
        begun = _add_token(session, TokenPurpose.SESSION, session_ttl_s)
        audit_log.record(session, actor, "log_in", subject=session_id(begun))
        return begun

    return in_transaction(sessions, redeem)


def authenticate_session(session: Session, token: str) -> Principal:
    """Return who a browser session belongs to.

    Raises:
        UnauthenticatedError: it has ended.
    """
    digest = digest_of(token)
    found = access_queries.find_token(session, digest, TokenPurpose.SESSION)
    if found is None or not hmac.compare_digest(found.digest, digest):
        raise UnauthenticatedError("You are not logged in any more. Open a new login link.")
    return Principal(key_id=session_id(token), scopes=EVERYTHING)


def session_id(token: str) -> str:
    """Return the name of a browser session, which says nothing of its token."""
    return f"session:{digest_of(token)[:16]}"


def end_session(sessions: Sessions, token: str) -> None:
    """Log a browser out; harmless if it is."""
    digest = digest_of(token)
    in_transaction(sessions, lambda s: access_queries.take_token(s, digest, TokenPurpose.SESSION))


def ensure_secret(sessions: Sessions, name: str) -> bytes:
    """Return the random value of this name that all processes share; the first one makes it."""

    def ensure(session: Session) -> bytes:
        access_queries.keep_secret(session, name, secrets.token_bytes(RANDOM_BYTES))
        value = access_queries.find_secret(session, name)
        if value is None:
            raise LookupError(f"secret {name} vanished")
        return value

    return in_transaction(sessions, ensure)


def _add_token(session: Session, purpose: TokenPurpose, ttl_s: float) -> str:
    token = secrets.token_urlsafe(RANDOM_BYTES)
    access_queries.add_token(
        session,
        digest=digest_of(token),
        purpose=purpose,
        expires_at=utc_now() + timedelta(seconds=ttl_s),
    )
    return token
