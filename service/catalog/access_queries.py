"""API keys, login tokens, browser sessions and shared secrets; only digests of the first three."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from service.catalog.blob_queries import insert_of
from service.catalog.door_tables import ApiKey, LoginToken, Secret
from service.catalog.tables import utc_now


class TokenPurpose(StrEnum):
    """What a token is good for."""

    LINK = "link"
    SESSION = "session"


@dataclass(frozen=True, kw_only=True)
class KeyRow:
    """What is kept of a new key, beside its digest."""

    name: str
    scopes: list[str]
    limits: dict[str, Any] | None
    expires_at: datetime | None
    created_by: str


def add_key(session: Session, digest: str, row: KeyRow) -> ApiKey:
    """Keep a new API key."""
    key = ApiKey(digest=digest, **asdict(row))
    session.add(key)
    session.flush()
    return key


def find_key(session: Session, digest: str) -> ApiKey | None:
    """Return the key with this digest, if it was not revoked."""
    return session.scalar(
        select(ApiKey).where(ApiKey.digest == digest, ApiKey.revoked_at.is_(None))
    )


def lock_key(session: Session, key_id: UUID) -> ApiKey | None:
    """Return a key that was not revoked, locked until the commit."""
    return session.scalar(
        select(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)).with_for_update()
    )


def note_use(session: Session, key_ids: Collection[UUID], at: datetime) -> None:
    """Write when keys were last used; a later time that is there stays."""
    session.execute(
        update(ApiKey)
        .where(ApiKey.id.in_(key_ids), or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < at))
        .values(last_used_at=at)
        .execution_options(synchronize_session=False)
    )


def list_keys(session: Session) -> list[ApiKey]:
    """Return the keys that were not revoked, oldest first."""
    return list(
        session.scalars(
            select(ApiKey).where(ApiKey.revoked_at.is_(None)).order_by(ApiKey.created_at)
        )
    )


def revoke_key(session: Session, key_id: UUID) -> bool:
    """Revoke a key; False: there is none, or it was revoked already."""
    revoked = session.scalar(
        update(ApiKey)
        .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=utc_now())
        .returning(ApiKey.id)
    )
    return revoked is not None


def add_token(
    session: Session, *, digest: str, purpose: TokenPurpose, expires_at: datetime
) -> None:
    """Keep a login token or a browser session."""
    session.add(LoginToken(digest=digest, purpose=purpose, expires_at=expires_at))
    session.flush()


def take_token(session: Session, digest: str, purpose: TokenPurpose) -> bool:
    """Use up a token: of two that try at the same time, one gets True."""
    taken = session.scalar(
        delete(LoginToken)
        .where(
            LoginToken.digest == digest,
            LoginToken.purpose == purpose,
            LoginToken.expires_at > utc_now(),
        )
        .returning(LoginToken.digest)
    )
    return taken is not None


def find_token(session: Session, digest: str, purpose: TokenPurpose) -> LoginToken | None:
    """Return a token that has not expired."""
    return session.scalar(
        select(LoginToken).where(
            LoginToken.digest == digest,
            LoginToken.purpose == purpose,
            LoginToken.expires_at > utc_now(),
        )
    )


def forget_expired_tokens(session: Session) -> None:
    """Remove tokens and sessions that have expired."""
    session.execute(delete(LoginToken).where(LoginToken.expires_at <= utc_now()))


def keep_secret(session: Session, name: str, value: bytes) -> bool:
    """Keep a secret unless there is one of this name; True: this one was kept."""
    kept = session.scalar(
        insert_of(session)(Secret)
        .values(name=name, value=value)
        .on_conflict_do_nothing(index_elements=[Secret.name])
        .returning(Secret.name)
    )
    return kept is not None


def find_secret(session: Session, name: str) -> bytes | None:
    """Return a secret."""
    return session.scalar(select(Secret.value).where(Secret.name == name))
