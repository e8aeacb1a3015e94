"""Who may do what: API keys with scopes, one-time login links, browser sessions.

Keys and tokens are 256 random bits, so a plain SHA-256 of them is kept: nobody can try them all,
and the slow, salted hash that a password needs would only slow down every request.
"""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy.orm import Session

from service.catalog import access_queries
from service.catalog.access_queries import TokenPurpose
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import ApiKey, utc_now
from service.errors import ForbiddenError, InvalidInputError, NotFoundError, UnauthenticatedError
from service.settings import Settings

KEY_PREFIX = "rsk_"
RANDOM_BYTES = 32
MAX_KEY_NAME = 100
MAX_CREDENTIAL = 512
FIRST_KEY_MADE = "first_admin_key_made"


class Scope(StrEnum):
    """What a key may do; `admin` includes the others."""

    SEARCH = "search"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who sent a request.

    Attributes:
        key_id: id of the API key, `settings` for that of the settings, or `session:...`.
        scopes: what it may do.
    """

    key_id: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether it may do this."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def require(self, scope: Scope) -> None:
        """Raise ForbiddenError if it may not do this."""
        if not self.may(scope):
            raise ForbiddenError(f"This needs a key with the scope {scope}.")


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """A key that was just made; `secret` is shown once and kept nowhere."""

    key: ApiKey
    secret: str


EVERYTHING = frozenset(Scope)


def make_key(sessions: Sessions, *, name: str, scopes: Collection[str]) -> NewKey:
    """Make an API key.

    Raises:
        InvalidInputError: no scope, an unknown one, or a name that is empty or too long.
    """
    checked = _checked_scopes(scopes)
    name = name.strip()
    if not 1 <= len(name) <= MAX_KEY_NAME or not name.isprintable():
        raise InvalidInputError(f"A key's name has 1 to {MAX_KEY_NAME} printable characters.")
    return in_transaction(sessions, lambda session: _add_key(session, name, checked))


def list_keys(session: Session) -> list[ApiKey]:
    """Return the keys that were not revoked, oldest first."""
    return access_queries.list_keys(session)


def revoke_key(sessions: Sessions, key_id: UUID) -> None:
    """Revoke a key; it holds for the next request.

    Raises:
        NotFoundError: there is no such key, or it was revoked already.
    """
    if not in_transaction(sessions, lambda s: access_queries.revoke_key(s, key_id)):
        raise NotFoundError(f"There is no key {key_id}.")


def authenticate(session: Session, bearer: str, *, settings: Settings) -> Principal:
    """Return who a key belongs to.

    Args:
        session: any session.
        bearer: the key as it was sent.
        settings: the admin key of the settings is accepted, too.

    Raises:
        UnauthenticatedError: it is no valid key.
    """
    digest = _digest(bearer[:MAX_CREDENTIAL])
    own = settings.admin_key
    if own is not None and hmac.compare_digest(digest, _digest(own.get_secret_value())):
        return Principal(key_id="settings", scopes=EVERYTHING)
    # Found by a digest, which who guesses cannot steer: the time it takes says nothing of a key
    key = access_queries.find_key(session, digest)
    if key is None or not hmac.compare_digest(key.digest, digest):
        raise UnauthenticatedError("The API key is not valid or was revoked.")
    return Principal(key_id=str(key.id), scopes=frozenset(map(Scope, key.scopes)))


def ensure_admin_key(sessions: Sessions, settings: Settings) -> str | None:
    """Make an admin key at the first start and return it: the only time that it is seen.

    Returns:
        The key; None if the settings bring one, or one was made before.
    """
    if settings.admin_key is not None:
        return None

    def make_first(session: Session) -> str | None:
        if not access_queries.keep_secret(session, FIRST_KEY_MADE, b""):
            return None
        return _add_key(session, "first admin key", [Scope.ADMIN]).secret

    return in_transaction(sessions, make_first)


def make_login_token(sessions: Sessions, *, ttl_s: float) -> str:
    """Make the secret of a one-time link that logs a browser in as admin."""
    return in_transaction(sessions, lambda s: _add_token(s, TokenPurpose.LINK, ttl_s))


def redeem_login_token(sessions: Sessions, token: str, *, session_ttl_s: float) -> str:
    """Use up a one-time link, and return the token of the browser session that it begins.

    Raises:
        UnauthenticatedError: it is no link of ours, was used before, or is too old.
    """

    def redeem(session: Session) -> str:
        digest = _digest(token[:MAX_CREDENTIAL])
        if not access_queries.take_token(session, digest, TokenPurpose.LINK):
            raise UnauthenticatedError(
                "This link was used before or is too old. Make another with `reelseek login`.",
                reason="bad_login_link",
            )
        return _add_token(session, TokenPurpose.SESSION, session_ttl_s)

    return in_transaction(sessions, redeem)


def authenticate_session(session: Session, token: str) -> Principal:
    """Return who a browser session belongs to.

    Raises:
        UnauthenticatedError: it has ended.
    """
    digest = _digest(token[:MAX_CREDENTIAL])
    found = access_queries.find_token(session, digest, TokenPurpose.SESSION)
    if found is None or not hmac.compare_digest(found.digest, digest):
        raise UnauthenticatedError("You are not logged in any more. Open a new login link.")
    return Principal(key_id=f"session:{digest[:16]}", scopes=EVERYTHING)


def end_session(sessions: Sessions, token: str) -> None:
    """Log a browser out; harmless if it is."""
    digest = _digest(token[:MAX_CREDENTIAL])
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


def _add_key(session: Session, name: str, scopes: list[Scope]) -> NewKey:
    secret = KEY_PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    key = access_queries.add_key(
        session, name=name, digest=_digest(secret), scopes=[str(scope) for scope in scopes]
    )
    return NewKey(key=key, secret=secret)


def _add_token(session: Session, purpose: TokenPurpose, ttl_s: float) -> str:
    token = secrets.token_urlsafe(RANDOM_BYTES)
    access_queries.add_token(
        session,
        digest=_digest(token),
        purpose=purpose,
        expires_at=utc_now() + timedelta(seconds=ttl_s),
    )
    return token


def _checked_scopes(scopes: Collection[str]) -> list[Scope]:
    known = {str(scope) for scope in Scope}
    unknown = sorted(set(scopes) - known)
    if unknown or not scopes:
        raise InvalidInputError(f"A key has one or more of the scopes {', '.join(sorted(known))}.")
    return [scope for scope in Scope if scope in scopes]


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
