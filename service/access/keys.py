"""API keys: made, listed, used, rotated, revoked."""

import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from service import audit_log
from service.access.principals import (
    EVERYTHING,
    NO_LIMITS,
    Limits,
    Principal,
    Scope,
    digest_of,
)
from service.audit_log import Actor
from service.catalog import access_queries
from service.catalog.access_queries import KeyRow
from service.catalog.door_tables import ApiKey
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import utc_now
from service.errors import ConflictError, InvalidInputError, NotFoundError, UnauthenticatedError
from service.settings import Settings

KEY_PREFIX = "rsk_"
RANDOM_BYTES = 32
MAX_KEY_NAME = 100
MAX_EXPIRES_IN_S = 10 * 366 * 86400
MAX_GRACE_S = 90 * 86400
FIRST_KEY_MADE = "first_admin_key_made"
STARTING = Actor(id="start")


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """A key that was just made; `secret` is shown once and kept nowhere."""

    key: ApiKey
    secret: str


def make_key(
    sessions: Sessions,
    *,
    name: str,
    scopes: Collection[str],
    expires_in_s: int | None = None,
    limits: Limits = NO_LIMITS,
    actor: Actor = STARTING,
) -> NewKey:
    """Make an API key.

    Args:
        sessions: writing sessions.
        name: who or what it is for.
        scopes: what it may do.
        expires_in_s: when it stops to work; None: never.
        limits: how much it may use, where that differs from the settings.
        actor: who makes it.

    Raises:
        InvalidInputError: no scope, an unknown one, a name that is empty or too long, or a time
            that is none.
    """
    checked = _checked_scopes(scopes)
    name = name.strip()
    if not 1 <= len(name) <= MAX_KEY_NAME or not name.isprintable():
        raise InvalidInputError(f"A key's name has 1 to {MAX_KEY_NAME} printable characters.")
    row = KeyRow(
        name=name,
        scopes=[str(scope) for scope in checked],
        limits=limits.stored(),
        expires_at=_expiry(expires_in_s),
        created_by=actor.id,
    )

    def make(session: Session) -> NewKey:
        made = _add_key(session, row)
        _record(session, actor, "create_key", made.key)
        return made

    return in_transaction(sessions, make)


def list_keys(session: Session) -> list[ApiKey]:
    """Return the keys that were not revoked, oldest first; expired ones are among them."""
    return access_queries.list_keys(session)


def rotate_key(
    sessions: Sessions, key_id: UUID, *, grace_s: int, actor: Actor = STARTING
) -> NewKey:
    """Make a key that takes the place of another one, which works for a while longer.

    Args:
        sessions: writing sessions.
        key_id: the key to be replaced.
        grace_s: how long it still works, so that all who use it can be told the new one.
        actor: who rotates it.

    Raises:
        NotFoundError: there is no such key, or it was revoked.
        ConflictError: it was rotated before, or has expired.
        InvalidInputError: the time is none.
    """
    if not 0 <= grace_s <= MAX_GRACE_S:
        raise InvalidInputError(f"The grace time is between 0 and {MAX_GRACE_S} seconds.")

    def rotate(session: Session) -> NewKey:
        now = utc_now()
        old = _rotatable(session, key_id, now)
        lifetime = None if old.expires_at is None else old.expires_at - old.created_at
        row = KeyRow(
            name=old.name,
            scopes=old.scopes,
            limits=old.limits,
            expires_at=None if lifetime is None else now + lifetime,
            created_by=actor.id,
        )
        made = _add_key(session, row)
        ends = now + timedelta(seconds=grace_s)
        old.expires_at = ends if old.expires_at is None else min(ends, old.expires_at)
        old.rotated_to = made.key.id
        detail = {"rotated_to": str(made.key.id), "works_until": old.expires_at.isoformat()}
        audit_log.record(session, actor, "rotate_key", subject=str(key_id), detail=detail)
        return made

    return in_transaction(sessions, rotate)


def revoke_key(sessions: Sessions, key_id: UUID, *, actor: Actor = STARTING) -> None:
    """Revoke a key; it holds for the next request.

    Raises:
        NotFoundError: there is no such key, or it was revoked already.
    """

    def revoke(session: Session) -> None:
        if not access_queries.revoke_key(session, key_id):
            raise NotFoundError(f"There is no key {key_id}.")
        audit_log.record(session, actor, "revoke_key", subject=str(key_id))

    in_transaction(sessions, revoke)


def authenticate(session: Session, bearer: str, *, settings: Settings) -> Principal:
    """Return who a key belongs to.

    Args:
        session: any session.
        bearer: the key as it was sent.
        settings: the admin key of the settings is accepted, too.

    Raises:
        UnauthenticatedError: it is no valid key.
    """
    digest = digest_of(bearer)
    own = settings.admin_key
    if own is not None and hmac.compare_digest(digest, digest_of(own.get_secret_value())):
        return Principal(key_id="settings", scopes=EVERYTHING)
    # Found by a digest, which who guesses cannot steer: the time it takes says nothing of a key
    key = access_queries.find_key(session, digest)
    if key is None or not hmac.compare_digest(key.digest, digest):
        raise UnauthenticatedError("The API key is not valid or was revoked.")
    if key.expires_at is not None and key.expires_at <= utc_now():
        raise UnauthenticatedError(
            "The API key has expired. Ask an administrator for another.", reason="key_expired"
        )
    return Principal(
        key_id=str(key.id),
        scopes=frozenset(map(Scope, key.scopes)),
        limits=Limits.of(key.limits),
    )


def note_use(sessions: Sessions, key_ids: Collection[UUID], at: datetime) -> None:
    """Write when keys were last used."""
    in_transaction(sessions, lambda s: access_queries.note_use(s, key_ids, at))


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
        row = KeyRow(
            name="first admin key",
            scopes=[str(Scope.ADMIN)],
            limits=None,
            expires_at=None,
            created_by=STARTING.id,
        )
        made = _add_key(session, row)
        _record(session, STARTING, "create_key", made.key)
        return made.secret

    return in_transaction(sessions, make_first)


def _rotatable(session: Session, key_id: UUID, now: datetime) -> ApiKey:
    key = access_queries.lock_key(session, key_id)
    if key is None:
        raise NotFoundError(f"There is no key {key_id}.")
    if key.rotated_to is not None:
        raise ConflictError(
            f"The key {key_id} was rotated before, to {key.rotated_to}; rotate that one.",
            reason="already_rotated",
        )
    if key.expires_at is not None and key.expires_at <= now:
        raise ConflictError(f"The key {key_id} has expired; make a new one.", reason="key_expired")
    return key


def _add_key(session: Session, row: KeyRow) -> NewKey:
    secret = KEY_PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    return NewKey(key=access_queries.add_key(session, digest_of(secret), row), secret=secret)


def _record(session: Session, actor: Actor, action: str, key: ApiKey) -> None:
    detail = {"name": key.name, "scopes": key.scopes, "limits": key.limits}
    if key.expires_at is not None:
        detail["expires_at"] = key.expires_at.isoformat()
    audit_log.record(session, actor, action, subject=str(key.id), detail=detail)


def _expiry(expires_in_s: int | None) -> datetime | None:
    if expires_in_s is None:
        return None
    if not 1 <= expires_in_s <= MAX_EXPIRES_IN_S:
        raise InvalidInputError(f"A key works for 1 to {MAX_EXPIRES_IN_S} seconds, or for ever.")
    return utc_now() + timedelta(seconds=expires_in_s)


def _checked_scopes(scopes: Collection[str]) -> list[Scope]:
    known = {str(scope) for scope in Scope}
    unknown = sorted(set(scopes) - known)
    if unknown or not scopes:
        raise InvalidInputError(f"A key has one or more of the scopes {', '.join(sorted(known))}.")
    return [scope for scope in Scope if scope in scopes]
