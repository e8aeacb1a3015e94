"""What replicas need to load a generation and to publish snapshots of it."""

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.catalog.change_queries import FIRST_CHAIN
from service.catalog.tables import Change, ChangeOp, Snapshot


class Upsert(NamedTuple):
    """The newest line of the change log that announced the embeddings of a video."""

    seq: int
    video_version: int


def read_upserts(session: Session, generation_id: UUID, *, up_to_seq: int) -> dict[UUID, Upsert]:
    """Return the newest upsert of each video among the lines up to `up_to_seq`."""
    newest = (
        select(func.max(Change.seq))
        .where(
            Change.op == ChangeOp.UPSERT,
            Change.generation_id == generation_id,
            Change.seq <= up_to_seq,
        )
        .group_by(Change.video_id)
    )
    rows = session.execute(
        select(Change.video_id, Change.seq, Change.video_version).where(Change.seq.in_(newest))
    )
    return {
        video_id: Upsert(seq, version)
        for video_id, seq, version in rows
        if video_id is not None and version is not None
    }


def read_chain(session: Session, seq: int) -> str | None:
    """Return the digest of a line and of all before it; None if there is no such line."""
    if seq == 0:
        return FIRST_CHAIN
    return session.scalar(select(Change.chain).where(Change.seq == seq))


def add_snapshot(
    session: Session, *, generation_id: UUID, epoch: str, seq: int, path: str, sha256: str
) -> None:
    """Tell other processes of a snapshot file that is durable."""
    session.add(
        Snapshot(generation_id=generation_id, epoch=epoch, seq=seq, path=path, sha256=sha256)
    )


def all_snapshot_paths(session: Session) -> set[str]:
    """Return the files that rows name."""
    return set(session.scalars(select(Snapshot.path)))


def remove_snapshots(session: Session, ids: Collection[UUID]) -> None:
    """Forget snapshots; their files go afterwards."""
    session.execute(delete(Snapshot).where(Snapshot.id.in_(ids)))
