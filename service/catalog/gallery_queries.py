"""Segments of the running index that two models are compared on."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from service.catalog.activation_tables import GenerationVideo
from service.catalog.index_queries import SEARCHABLE
from service.catalog.tables import Segment, Video

MOST_SEGMENTS = 2_000
VIDEOS_PER_STATEMENT = 500


class StoredSegment(NamedTuple):
    """A segment whose clip is row `position` in the clip file of the folder `derived`."""

    video_id: UUID
    ordinal: int
    start_s: float
    end_s: float
    derived: str
    position: int


class _Source(NamedTuple):
    video_id: UUID
    derived: str
    num_segments: int


def sample_gallery(
    session: Session,
    generation_id: UUID,
    wanted: Collection[UUID],
    *,
    seed: int = 0,
    most: int = MOST_SEGMENTS,
) -> list[StoredSegment]:
    """Return segments of whole videos of a generation, drawn by video.

    Args:
        session: a reading session.
        generation_id: whose videos are drawn; its clips are returned.
        wanted: videos that come first, those that held-out texts are about; the others fill up.
        seed: equal seeds draw equal videos, whatever else is in the gallery.
        most: how many segments at most; a first video that is longer is taken whole.
    """
    videos = sorted(
        _sources(session, generation_id),
        key=lambda one: (one.video_id not in wanted, _draw(seed, one.video_id)),
    )
    chosen: list[_Source] = []
    total = 0
    for video in videos:
        if chosen and total + video.num_segments > most:
            continue
        chosen.append(video)
        total += video.num_segments
    return list(_segments(session, chosen))


def _sources(session: Session, generation_id: UUID) -> list[_Source]:
    """Return the searchable videos of a generation, as they are now."""
    of_generation = and_(
        GenerationVideo.generation_id == generation_id,
        GenerationVideo.video_id == Video.id,
        GenerationVideo.video_version == Video.version,
    )
    derived = func.coalesce(GenerationVideo.derived, Video.derived)
    rows = session.execute(
        select(Video.id, derived, GenerationVideo.num_segments)
        .join(GenerationVideo, of_generation)
        .where(
            Video.state.in_(SEARCHABLE),
            GenerationVideo.num_segments > 0,
            derived.is_not(None),
        )
    )
    return [_Source(*row) for row in rows]


def _segments(session: Session, videos: Sequence[_Source]) -> Iterator[StoredSegment]:
    for start in range(0, len(videos), VIDEOS_PER_STATEMENT):
        folders = {
            one.video_id: one.derived for one in videos[start : start + VIDEOS_PER_STATEMENT]
        }
        rows = session.execute(
            select(
                Segment.video_id,
                Segment.ordinal,
                Segment.start_s,
                Segment.end_s,
                Segment.position,
            )
            .where(Segment.video_id.in_(folders))
            .order_by(Segment.video_id, Segment.ordinal)
        )
        for video_id, ordinal, start_s, end_s, position in rows:
            yield StoredSegment(video_id, ordinal, start_s, end_s, folders[video_id], position)


def _draw(seed: int, video_id: UUID) -> bytes:
    """Return the place of a video in the drawn order; others do not change it."""
    return hashlib.sha256(f"{seed}/{video_id}".encode()).digest()
