"""What search and replicas read: embeddings, live segments, the videos that pass a filter."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from service.catalog.tables import Embedding, Segment, Snapshot, Video, VideoState, VideoTag

SEARCHABLE = (VideoState.READY, VideoState.PARTIAL)
IDS_PER_STATEMENT = 5000  # two parameters each; SQLite allows 32,766, PostgreSQL 65,535
ROWS_AT_ONCE = 2000
T = TypeVar("T")


class EmbeddingRow(NamedTuple):
    """One embedding as it is stored: `vector` is little-endian float16, `crc` its zlib.crc32."""

    video_id: UUID
    ordinal: int
    video_version: int
    vector: bytes
    crc: int


class SegmentKey(NamedTuple):
    """What names a segment."""

    video_id: UUID
    ordinal: int


class LiveSegment(NamedTuple):
    """A segment of a searchable video, with what is shown of both.

    `position` is its row in the clip file of the folder `derived`.
    """

    video_id: UUID
    ordinal: int
    video_version: int
    position: int
    start_s: float
    end_s: float
    thumbnail_offset: int
    thumbnail_bytes: int
    derived: str
    title: str
    file_name: str
    duration_s: float | None

    @property
    def key(self) -> SegmentKey:
        """What names it."""
        return SegmentKey(self.video_id, self.ordinal)


@dataclass(frozen=True, kw_only=True)
class VideoFilter:
    """Which videos a search may return; what is None does not matter.

    Attributes:
        tags: the video has all of these.
        video_ids: it is one of these.
        created_after: it was uploaded at this time or later.
        created_before: it was uploaded before this time.
        min_duration_s: it is at least so long.
        max_duration_s: it is at most so long.
    """

    tags: Collection[str] | None = None
    video_ids: Collection[UUID] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every video passes."""
        return self == VideoFilter()


def read_embeddings(
    session: Session, generation_id: UUID, video_ids: Collection[UUID] | None = None
) -> Iterator[EmbeddingRow]:
    """Yield the embeddings of a generation by (video, ordinal), of some videos or of all.

    Read the counter first, in the same session: on PostgreSQL each statement sees what was
    committed before it began, so lines after that counter may be in here already, which does no
    harm when they are applied again.
    """
    columns = (
        Embedding.video_id,
        Embedding.ordinal,
        Embedding.video_version,
        Embedding.vector,
        Embedding.crc,
    )
    statement = (
        select(*columns)
        .where(Embedding.generation_id == generation_id)
        .order_by(Embedding.video_id, Embedding.ordinal)
    )
    if video_ids is None:
        yield from _stream(session, statement)
        return
    for some in _in_parts(sorted(set(video_ids))):
        yield from _stream(session, statement.where(Embedding.video_id.in_(some)))


def segments_of(session: Session, video_id: UUID) -> list[LiveSegment]:
    """Return the segments of a video by ordinal; none if it is not searchable."""
    rows = session.execute(
        _live_segments().where(Segment.video_id == video_id).order_by(Segment.ordinal)
    )
    return [LiveSegment(**row._mapping) for row in rows]  # noqa: SLF001


def segment_from(session: Session, video_id: UUID, ordinal: int) -> LiveSegment | None:
    """Return this segment, or the next that could be decoded; None if there is none."""
    row = session.execute(
        _live_segments()
        .where(Segment.video_id == video_id, Segment.ordinal >= ordinal)
        .order_by(Segment.ordinal)
        .limit(1)
    ).one_or_none()
    return None if row is None else LiveSegment(**row._mapping)  # noqa: SLF001


def filter_video_ids(session: Session, wanted: VideoFilter) -> set[UUID]:
    """Return the searchable videos that pass a filter."""
    statement = select(Video.id).where(Video.state.in_(SEARCHABLE))
    if wanted.created_after is not None:
        statement = statement.where(Video.created_at >= wanted.created_after)
    if wanted.created_before is not None:
        statement = statement.where(Video.created_at < wanted.created_before)
    if wanted.min_duration_s is not None:
        statement = statement.where(Video.duration_s >= wanted.min_duration_s)
    if wanted.max_duration_s is not None:
        statement = statement.where(Video.duration_s <= wanted.max_duration_s)
    for tag in set(wanted.tags or ()):
        statement = statement.where(
            Video.id.in_(select(VideoTag.video_id).where(VideoTag.tag == tag))
        )
    if wanted.video_ids is None:
        return set(session.scalars(statement))
    parts = _in_parts(sorted(set(wanted.video_ids)))
    return {id_ for some in parts for id_ in session.scalars(statement.where(Video.id.in_(some)))}


def newest_snapshots(session: Session, generation_id: UUID) -> list[Snapshot]:
    """Return the snapshots of a generation, newest first."""
    return list(
        session.scalars(
            select(Snapshot)
            .where(Snapshot.generation_id == generation_id)
            .order_by(Snapshot.seq.desc(), Snapshot.created_at.desc())
        )
    )


def _live_segments() -> Select[*tuple[Any, ...]]:
    return (
        select(
            Segment.video_id,
            Video.version.label("video_version"),
            Segment.ordinal,
            Segment.position,
            Segment.start_s,
            Segment.end_s,
            Segment.thumbnail_offset,
            Segment.thumbnail_bytes,
            Video.derived,
            Video.title,
            Video.file_name,
            Video.duration_s,
        )
        .join(Video, Video.id == Segment.video_id)
        .where(Video.state.in_(SEARCHABLE))
    )


def _stream(
    session: Session, statement: Select[UUID, int, int, bytes, int]
) -> Iterator[EmbeddingRow]:
    for rows in session.execute(statement.execution_options(yield_per=ROWS_AT_ONCE)).partitions():
        yield from (EmbeddingRow(*row) for row in rows)


def _in_parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), IDS_PER_STATEMENT):
        yield values[start : start + IDS_PER_STATEMENT]
