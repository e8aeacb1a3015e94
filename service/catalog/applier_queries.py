"""How far an index outside our processes is, and which process feeds it."""

from collections.abc import Collection
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from service.catalog.applier_tables import Applied
from service.catalog.blob_queries import insert_of
from service.catalog.clock import database_time
from service.catalog.tables import Embedding

NOTHING = ""
"""The epoch of what was never filled; no history has this name."""


class LostFeedError(Exception):
    """Another process feeds the index now."""


class Standing(NamedTuple):
    """What an outer index holds of a generation.

    Attributes:
        place: what holds it; None: nothing does yet.
        epoch: of the change log.
        seq: the last change that it contains.
        chain: digest of that change.
        is_free: nobody feeds it.
    """

    place: str | None
    epoch: str
    seq: int
    chain: str
    is_free: bool


def read_standing(session: Session, index_name: str, generation_id: UUID) -> Standing | None:
    """Return what an outer index holds of a generation; None if it was never heard of."""
    row = session.execute(
        select(
            Applied.place,
            Applied.epoch,
            Applied.seq,
            Applied.chain,
            or_(Applied.lease_until.is_(None), Applied.lease_until < database_time()),
        ).where(_is(index_name, generation_id))
    ).one_or_none()
    return None if row is None else Standing(*row)


def take_feed(
    session: Session, index_name: str, generation_id: UUID, *, lease_s: float
) -> int | None:
    """Become the process that feeds a generation, if none does; return its fence."""
    values: dict[str, Any] = {
        "index_name": index_name,
        "generation_id": generation_id,
        "epoch": NOTHING,
        "seq": 0,
        "chain": "",
        "fence": 0,
        "updated_at": database_time(),
    }
    session.execute(insert_of(session)(Applied).values(**values).on_conflict_do_nothing())
    is_free = or_(Applied.lease_until.is_(None), Applied.lease_until < database_time())
    return session.scalar(
        update(Applied)
        .where(_is(index_name, generation_id), is_free)
        .values(fence=Applied.fence + 1, lease_until=database_time(lease_s))
        .returning(Applied.fence)
    )


def keep_feed(
    session: Session, index_name: str, generation_id: UUID, fence: int, **values: Any
) -> None:
    """Write how far it is, or only renew the lease: `lease_until`, `place`, `epoch`, `seq`, ...

    Raises:
        LostFeedError: another process feeds it now.
    """
    kept = session.execute(
        update(Applied)
        .where(_is(index_name, generation_id), Applied.fence == fence)
        .values(updated_at=database_time(), **values)
        .returning(Applied.fence)
    ).one_or_none()
    if kept is None:
        raise LostFeedError(f"generation {generation_id}")


def forget_others(session: Session, index_name: str, kept: Collection[UUID]) -> None:
    """Forget what an outer index held of generations that nobody searches any more."""
    session.execute(
        delete(Applied).where(Applied.index_name == index_name, Applied.generation_id.not_in(kept))
    )


def places_in_use(session: Session, index_name: str) -> set[str]:
    """Return everything that holds a generation."""
    places = session.scalars(select(Applied.place).where(Applied.index_name == index_name))
    return {place for place in places if place is not None}


def count_embeddings(session: Session, generation_id: UUID) -> int:
    """Return how many embeddings a generation has."""
    counted = select(func.count()).select_from(Embedding)
    return session.scalar(counted.where(Embedding.generation_id == generation_id)) or 0


def _is(index_name: str, generation_id: UUID) -> ColumnElement[bool]:
    return and_(Applied.index_name == index_name, Applied.generation_id == generation_id)
