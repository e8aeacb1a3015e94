"""What was used of the quotas: counters by owner and window, and what is stored altogether."""

from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.catalog.blob_queries import insert_of
from service.catalog.door_tables import ApiKey, Usage
from service.catalog.job_queries import OPEN
from service.catalog.tables import Blob, BlobState, Job, JobKind, Video, VideoState


def add_usage(session: Session, owner: str, kind: str, window: str, amount: int) -> int:
    """Count, and return the sum of the window; others who count there wait for our commit."""
    insert = insert_of(session)(Usage).values(owner=owner, kind=kind, window=window, amount=amount)
    added: int = session.execute(
        insert.on_conflict_do_update(
            index_elements=[Usage.owner, Usage.kind, Usage.window],
            set_={"amount": Usage.amount + insert.excluded.amount},
        ).returning(Usage.amount)
    ).scalar_one()
    return added


def read_usage(session: Session, owner: str, kind: str, window: str) -> int:
    """Return what was counted in a window."""
    return (
        session.scalar(
            select(Usage.amount).where(
                Usage.owner == owner, Usage.kind == kind, Usage.window == window
            )
        )
        or 0
    )


def forget_usage(session: Session, *, before: str) -> None:
    """Forget the windows of days before this one, as `2026-01-31`."""
    session.execute(delete(Usage).where(Usage.window < before))


def stored_bytes(session: Session) -> int:
    """Return the size of all videos that are kept."""
    total = select(func.coalesce(func.sum(Blob.size_bytes), 0)).where(Blob.state == BlobState.LIVE)
    return int(session.execute(total).scalar_one())


def num_videos(session: Session) -> int:
    """Return how many videos there are."""
    count = select(func.count()).select_from(Video).where(Video.state != VideoState.DELETED)
    return int(session.execute(count).scalar_one())


def are_waiting(session: Session, kind: JobKind, number: int) -> bool:
    """Tell whether at least so many jobs of a kind are not done yet."""
    last = select(Job.id).where(Job.kind == kind, Job.state.in_(OPEN)).offset(number - 1).limit(1)
    return session.scalar(last) is not None


def limits_of_key(session: Session, key_id: UUID) -> dict[str, Any]:
    """Return the limits that a key has of its own."""
    return session.scalar(select(ApiKey.limits).where(ApiKey.id == key_id)) or {}
