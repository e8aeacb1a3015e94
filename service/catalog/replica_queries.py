"""What replicas need to load generations, to publish snapshots, and to say how far they are."""

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import case, delete, func, insert, select
from sqlalchemy.orm import Session

from service.catalog.activation_tables import ReplicaReport
from service.catalog.change_queries import FIRST_CHAIN
from service.catalog.clock import database_time
from service.catalog.generation_queries import ActiveGeneration
from service.catalog.tables import (
    Change,
    ChangeOp,
    Embedding,
    Generation,
    GenerationState,
    ModelVersion,
    Snapshot,
)

SILENT_S = 60.0
"""A process that reported nothing for so long has ended."""


class Upsert(NamedTuple):
    """The newest line of the change log that announced the embeddings of a video."""

    seq: int
    video_version: int


class Report(NamedTuple):
    """How far a process is in a generation that will take over.

    `is_warm` tells whether it could search it now.
    """

    generation_id: UUID
    seq: int
    is_warm: bool


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


def generations_to_follow(session: Session) -> list[tuple[ActiveGeneration, GenerationState]]:
    """Return the generations that replicas hold: the active one first, then what may follow it.

    Those are what is complete and will take over, and what a rollback would go back to.
    """
    is_ready = (Generation.state == GenerationState.BUILDING) & Generation.ready_at.is_not(None)
    is_kept = (Generation.state == GenerationState.KEPT) & (Generation.kept_until > database_time())
    is_active = Generation.state == GenerationState.ACTIVE
    rows = session.execute(
        select(
            Generation.state,
            Generation.id,
            ModelVersion.id,
            ModelVersion.name,
            ModelVersion.bundle_digest,
            ModelVersion.bundle_path,
            ModelVersion.spec,
        )
        .join(ModelVersion, ModelVersion.id == Generation.model_version_id)
        .where(is_active | is_kept | is_ready)
        .order_by(case((is_active, 0), (is_ready, 1), else_=2), Generation.created_at.desc())
    )
    return [
        (
            ActiveGeneration(
                generation_id=generation_id,
                model_version_id=version_id,
                name=name,
                bundle_digest=digest,
                bundle_path=path,
                spec=spec,
            ),
            state,
        )
        for state, generation_id, version_id, name, digest, path, spec in rows
    ]


def write_reports(session: Session, process_id: UUID, reports: Collection[Report]) -> None:
    """Say how far a process is in what will take over, in place of what it said before.

    What processes said that have been silent for a minute goes: they are not there any more.
    """
    is_stale = ReplicaReport.seen_at < database_time(-SILENT_S)
    is_own = ReplicaReport.process_id == process_id
    session.execute(delete(ReplicaReport).where(is_stale | is_own))
    for report in reports:
        session.execute(
            insert(ReplicaReport).values(
                process_id=process_id,
                generation_id=report.generation_id,
                seq=report.seq,
                is_warm=report.is_warm,
                seen_at=database_time(),
            )
        )


def is_embedded(session: Session, generation_id: UUID, video_id: UUID) -> bool:
    """Tell whether a video has embeddings in a generation."""
    found = select(Embedding.ordinal).where(
        Embedding.generation_id == generation_id, Embedding.video_id == video_id
    )
    return session.scalar(found.limit(1)) is not None
