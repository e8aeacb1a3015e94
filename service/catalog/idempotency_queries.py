"""Keys of requests: who carries one out, and what it answered."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.orm import Session

from service.catalog.blob_queries import insert_of
from service.catalog.clock import database_time
from service.catalog.tables import IdempotencyKey, KeyState, utc_now


def reserve_key(
    session: Session, *, owner: str, key: str, digest: str, claim: UUID, lease_s: float
) -> bool:
    """Keep the key for a request that nobody has carried out yet; False: there is such a key."""
    made = session.scalar(
        insert_of(session)(IdempotencyKey)
        .values(
            owner=owner,
            key=key,
            request_digest=digest,
            response={},
            state=KeyState.RUNNING,
            claim=claim,
            lease_until=database_time(lease_s),
            created_at=utc_now(),
        )
        .on_conflict_do_nothing(index_elements=[IdempotencyKey.owner, IdempotencyKey.key])
        .returning(IdempotencyKey.key)
    )
    return made is not None


def find_key(session: Session, *, owner: str, key: str) -> IdempotencyKey | None:
    """Lock the row of a key and return it."""
    return session.scalar(
        select(IdempotencyKey)
        .where(IdempotencyKey.owner == owner, IdempotencyKey.key == key)
        .with_for_update()
    )


def is_leased(session: Session, kept: IdempotencyKey) -> bool:
    """Tell whether whoever carries it out may still be about to keep the answer."""
    found = session.scalar(
        select(IdempotencyKey.key).where(
            IdempotencyKey.owner == kept.owner,
            IdempotencyKey.key == kept.key,
            IdempotencyKey.lease_until >= database_time(),
        )
    )
    return found is not None


def take_over(session: Session, *, owner: str, key: str, claim: UUID, lease_s: float) -> bool:
    """Take the place of a request whose lease is over; False: it is not."""
    taken = session.scalar(
        update(IdempotencyKey)
        .where(
            IdempotencyKey.owner == owner,
            IdempotencyKey.key == key,
            IdempotencyKey.state == KeyState.RUNNING,
            IdempotencyKey.lease_until < database_time(),
        )
        .values(claim=claim, lease_until=database_time(lease_s))
        .returning(IdempotencyKey.key)
    )
    return taken is not None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right of one request to the row of a key."""

    owner: str
    key: str
    claim: UUID

    def is_held(self) -> ColumnElement[bool]:
        """Nobody else took the place; by the primary key, because there are many rows."""
        return and_(
            IdempotencyKey.owner == self.owner,
            IdempotencyKey.key == self.key,
            IdempotencyKey.claim == self.claim,
        )


def mark_done(session: Session, claim: Claim) -> bool:
    """Say, in the transaction that does what was asked, that it is done; False: not ours."""
    marked = session.scalar(
        update(IdempotencyKey)
        .where(claim.is_held())
        .values(state=KeyState.DONE)
        .returning(IdempotencyKey.key)
    )
    return marked is not None


def keep_answer(session: Session, claim: Claim, response: dict[str, Any]) -> None:
    """Keep what was answered."""
    session.execute(
        update(IdempotencyKey)
        .where(claim.is_held())
        .values(state=KeyState.ANSWERED, response=response, claim=None, lease_until=None)
    )


def release_key(session: Session, claim: Claim, *, even_if_done: bool) -> None:
    """Forget a request that failed, so that it may be repeated with the same key.

    One that is done, and stays so, has no answer any more: nobody need wait for it.
    """
    states = [KeyState.RUNNING, KeyState.DONE] if even_if_done else [KeyState.RUNNING]
    session.execute(
        update(IdempotencyKey)
        .where(claim.is_held(), IdempotencyKey.state == KeyState.DONE)
        .values(lease_until=None)
    )
    session.execute(delete(IdempotencyKey).where(claim.is_held(), IdempotencyKey.state.in_(states)))
