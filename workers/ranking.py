"""Where right answers stand in a generation: by similarity, and after re-ranking.

Shapes: Q questions, n segments, m videos, E embedding width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from service.evaluations import Question
from service.index.faiss_index import FaissIndex, Keys
from service.search.moments import Candidate, in_order

ROWS_AT_ONCE = 65_536
"""Embeddings that are unpacked to float32 at once: bounds memory, whatever the gallery."""

ROUNDING = 1e-6
"""The same product of unit vectors differs so little by the order in which it is summed up."""

Rerank = Callable[[str, list[Candidate]], list[Candidate]]
"""Matches the best of some candidates with a text."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question with what is right in the index that is measured.

    Attributes:
        question: the text and its moments.
        positions: of the right segments in the index, at least one.
        segments: the same as (video, ordinal).
    """

    question: Question
    positions: NDArray[np.int64]
    segments: frozenset[tuple[UUID, int]]

    @property
    def videos(self) -> frozenset[UUID]:
        """The right videos."""
        return frozenset(video_id for video_id, _ordinal in self.segments)


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the first right answer stands, from 0.

    Attributes:
        moment: among all segments.
        video: among all videos, each standing where its best segment stands.
    """

    moment: int
    video: int


@dataclass(frozen=True, kw_only=True)
class Answered:
    """How a question was answered; `reranked` is None where nothing re-ranks."""

    asked: Asked
    dual_stream: Places
    reranked: Places | None


def find_places(ordered: Sequence[Candidate], asked: Asked) -> tuple[int | None, int | None]:
    """Return where the right moment and the right video stand among candidates, best first."""
    moment = video = None
    seen: set[UUID] = set()
    videos = asked.videos
    for place, candidate in enumerate(ordered):
        hit = candidate.hit
        if video is None and hit.video_id in videos:
            video = len(seen)
        seen.add(hit.video_id)
        if (hit.video_id, hit.ordinal) in asked.segments:
            moment = place
            break
    return moment, video


def answer(
    asked: Asked, candidates: list[Candidate], rerank: Rerank | None, below: Places | None
) -> Answered:
    """Say where the right answers stand, before and after re-ranking.

    Args:
        asked: the question.
        candidates: what the search finds, best first.
        rerank: None if the model cannot or the search does not.
        below: places among everything, needed where a right answer is no candidate.
    """
    dual_stream = _places(candidates, asked, below)
    reranked = None
    if rerank is not None:
        again = in_order(rerank(asked.question.text, candidates))
        reranked = _places(again, asked, dual_stream)
    return Answered(asked=asked, dual_stream=dual_stream, reranked=reranked)


def _places(ordered: Sequence[Candidate], asked: Asked, below: Places | None) -> Places:
    moment, video = find_places(ordered, asked)
    if moment is not None and video is not None:
        return Places(moment=moment, video=video)
    if below is None:
        raise ValueError("a right answer is no candidate, and where it stands was not counted")
    num_videos = len({one.hit.video_id for one in ordered})
    return Places(
        moment=max(below.moment, len(ordered)) if moment is None else moment,
        video=max(below.video, num_videos) if video is None else video,
    )


def right_positions(question: Question, keys: Keys, spans: "SpansOf") -> Asked | None:
    """Find the segments that answer a question in an index; None if there is none."""
    positions: dict[int, tuple[UUID, int]] = {}
    for moment in question.moments:
        for ordinal, start_s, end_s in spans.get(moment.video_id, ()):
            position = _position(keys, moment.video_id, ordinal)
            if position is not None and moment.holds(start_s, end_s):
                positions[position] = (moment.video_id, ordinal)
    if not positions:
        return None
    return Asked(
        question=question,
        positions=np.array(sorted(positions), np.int64),
        segments=frozenset(positions.values()),
    )


SpansOf = dict[UUID, list[tuple[int, float, float]]]
"""(ordinal, start_s, end_s) of the segments of each video."""


def _position(keys: Keys, video_id: UUID, ordinal: int) -> int | None:
    """Return where a segment stands in an index whose positions are in the order of slots."""
    slots = keys.slots_of([video_id])
    if not len(slots):
        return None
    first, last = np.searchsorted(keys.slots, [slots[0], slots[0] + 1])
    found = np.flatnonzero(keys.ordinals[first:last] == ordinal)
    return int(first + found[0]) if len(found) else None


def deep_places(
    index: FaissIndex, queries: NDArray[np.float32], right: Sequence[NDArray[np.int64]]
) -> list[Places]:
    """Return where the best right segments stand among everything, by similarity alone.

    Args:
        index: positions in the order of slots, none dead.
        queries: unit norm, (Q, E).
        right: positions of the right segments of each query.
    """
    best = np.array(
        [
            (index.index.reconstruct_batch(positions) @ query).max()
            for query, positions in zip(queries, right, strict=True)
        ]
    )  # (Q,)
    ahead = np.zeros(len(queries), np.int64)
    best_of_slot = np.full((len(queries), len(index.keys.seqs)), -np.inf, np.float32)  # (Q, m)
    for start, vectors in _blocks(index):
        similarity = queries @ vectors.T  # (Q, rows)
        ahead += np.count_nonzero(similarity > best[:, None] + ROUNDING, axis=1)
        slots = index.keys.slots[start : start + len(vectors)]
        starts = np.flatnonzero(np.r_[True, slots[1:] != slots[:-1]])
        here = slots[starts]
        maxima = np.maximum.reduceat(similarity, starts, axis=1)
        best_of_slot[:, here] = np.maximum(best_of_slot[:, here], maxima)
    videos = [
        int(np.count_nonzero(row > row[index.keys.slots[positions]].max()))
        for row, positions in zip(best_of_slot, right, strict=True)
    ]
    return [
        Places(moment=int(moment), video=video) for moment, video in zip(ahead, videos, strict=True)
    ]


def _blocks(index: FaissIndex) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (first position, embeddings float32 (rows, E))."""
    for start in range(0, len(index), ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, len(index) - start)
        yield start, index.index.reconstruct_n(start, count)
