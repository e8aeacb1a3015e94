"""What the checks before a switch look at: samples of embeddings, and texts that people typed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.catalog.activation_tables import GenerationVideo
from service.catalog.caption_tables import Caption, Feedback
from service.catalog.evaluation_tables import EvaluationQuery, EvaluationSet
from service.catalog.index_queries import SEARCHABLE, SegmentKey, read_embeddings
from service.catalog.tables import Embedding, Segment, Video

BLOCK = 4096


@dataclass(frozen=True, kw_only=True)
class SampledSegment:
    """A segment and its embedding in one generation.

    Attributes:
        video_id: its video.
        ordinal: its place in the video.
        derived: folder of the clips that the generation reads.
        position: row of its clip there.
        vector: unit norm, float32 (E,).
    """

    video_id: UUID
    ordinal: int
    derived: str
    position: int
    vector: np.ndarray


class Block(NamedTuple):
    """Some embeddings of a generation: N keys and float32 (N, E)."""

    keys: list[SegmentKey]
    vectors: np.ndarray


def sample_segments(session: Session, generation_id: UUID, count: int) -> list[SampledSegment]:
    """Return some segments of a generation, chosen at random, with their clips."""
    rows = session.execute(
        select(
            Embedding.video_id,
            Embedding.ordinal,
            func.coalesce(GenerationVideo.derived, Video.derived).label("derived"),
            Segment.position,
            Embedding.vector,
        )
        .join(
            GenerationVideo,
            (GenerationVideo.generation_id == Embedding.generation_id)
            & (GenerationVideo.video_id == Embedding.video_id),
        )
        .join(Video, Video.id == Embedding.video_id)
        .join(
            Segment,
            (Segment.video_id == Embedding.video_id) & (Segment.ordinal == Embedding.ordinal),
        )
        .where(Embedding.generation_id == generation_id, Video.state.in_(SEARCHABLE))
        .order_by(func.random())
        .limit(count)
    )
    return [
        SampledSegment(
            video_id=row.video_id,
            ordinal=row.ordinal,
            derived=row.derived,
            position=row.position,
            vector=_as_floats(row.vector),
        )
        for row in rows
        if row.derived is not None
    ]


def sample_vectors(session: Session, generation_id: UUID, count: int) -> np.ndarray:
    """Return some embeddings of a generation, chosen at random, float32 (N, E)."""
    rows = session.scalars(
        select(Embedding.vector)
        .where(Embedding.generation_id == generation_id)
        .order_by(func.random())
        .limit(count)
    ).all()
    return np.stack([_as_floats(row) for row in rows]) if rows else np.empty((0, 1), np.float32)


def read_blocks(session: Session, generation_id: UUID) -> Iterator[Block]:
    """Yield all embeddings of a generation, some thousand at a time."""
    keys: list[SegmentKey] = []
    vectors: list[np.ndarray] = []
    for row in read_embeddings(session, generation_id):
        keys.append(SegmentKey(row.video_id, row.ordinal))
        vectors.append(_as_floats(row.vector))
        if len(keys) == BLOCK:
            yield Block(keys, np.stack(vectors))
            keys, vectors = [], []
    if keys:
        yield Block(keys, np.stack(vectors))


def typical_texts(session: Session, limit: int) -> list[str]:
    """Return texts that people searched with or described videos by, each once.

    What they searched with comes first, then what they evaluate with, then captions; the newest
    of each.
    """
    sources = (
        select(Feedback.text).order_by(Feedback.created_at.desc()),
        select(EvaluationQuery.text)
        .join(EvaluationSet, EvaluationSet.id == EvaluationQuery.set_id)
        .order_by(EvaluationSet.created_at.desc(), EvaluationQuery.ordinal),
        select(Caption.text).order_by(Caption.created_at.desc()),
    )
    found: dict[str, None] = {}
    for source in sources:
        found |= dict.fromkeys(session.scalars(source.limit(limit)))
    return list(found)[:limit]


def _as_floats(vector: bytes) -> np.ndarray:
    return np.frombuffer(vector, "<f2").astype(np.float32)
