"""From ranked segments to moments: what adjoins and is about as good becomes one."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from service.catalog.index_queries import LiveSegment
from service.index.faiss_index import Hit

MAX_SEGMENTS = 5
"""A moment is never longer, however long the same thing goes on."""

GOOD_PROBABILITY = 0.5
CLOSE_PROBABILITY = 0.7
CLOSE_SIMILARITY = 0.9
TOUCHING_S = 0.05
"""Segments that end and begin within this adjoin (rounding of time stamps)."""

Confidence = Literal["confident", "none", "unknown"]
"""Whether an answer holds what was meant, as far as the model knows."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A live segment that FAISS found.

    Attributes:
        hit: as FAISS found it.
        segment: as SQL has it.
        place: among all candidates by similarity, 1 = best.
        log_odds: answer of the fused pass; None if it was not re-ranked.
        rerank_score: what it is ordered by then (`RetrievalSpec.rerank_score`).
        probability: match probability then (`RetrievalSpec.probability`).
    """

    hit: Hit
    segment: LiveSegment
    place: int
    log_odds: float | None = None
    rerank_score: float | None = None
    probability: float | None = None


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a user is shown: one or more adjoining segments of a video.

    Attributes:
        video_id: where it is.
        title: of the video.
        file_name: of the video.
        start_s: first moment, seconds from the start of the video.
        end_s: end, exclusive.
        similarity: of its best segment, in [-1, 1].
        match_probability: of its best segment, in [0, 1]; None if none was re-ranked.
        rank: place in the list, 1 = best; goes on from page to page.
        retrieval_rank: place of its best segment among all candidates by similarity alone.
        segments: ordinals, ascending.
        thumbnail_ordinal: the segment that stands for it: its best.
    """

    video_id: UUID
    title: str
    file_name: str
    start_s: float
    end_s: float
    similarity: float
    match_probability: float | None
    rank: int
    retrieval_rank: int
    segments: tuple[int, ...]
    thumbnail_ordinal: int


def confidence_in(
    candidates: Sequence[Candidate], *, least: float | None, is_degraded: bool
) -> Confidence:
    """Tell whether the best of all candidates is good enough to be shown as an answer.

    Args:
        candidates: all of them, on whatever page they are shown.
        least: probability that one of them must reach; None if the model cannot tell.
        is_degraded: some that should have been re-ranked were not.
    """
    known = [one.probability for one in candidates if one.probability is not None]
    if least is None or not known:
        return "unknown"
    if max(known) >= least:
        return "confident"
    return "unknown" if is_degraded else "none"


def in_order(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Sort: first what was re-ranked, by `rerank_score`; then the rest, by similarity."""
    return sorted(candidates, key=_standing)


def join_adjoining(
    ranked: Sequence[Candidate], *, good: float = GOOD_PROBABILITY
) -> Iterator[list[Candidate]]:
    """Group candidates, best first, into moments, best first.

    The best segment that is left begins a moment. It grows by the better of its two neighbours
    (ordinal one less or one more, touching or overlapping in time) as long as that neighbour is
    a candidate, is free, and is *close to the best segment* (not to the one beside it, so that
    a moment cannot creep through a whole video), up to MAX_SEGMENTS. See `is_close`.

    Args:
        ranked: in the order of `in_order`.
        good: match probability from which a segment is an answer at all.
    """
    free = {(one.hit.seq, one.hit.ordinal): one for one in ranked}  # one seq is one video
    for best in ranked:
        if free.pop((best.hit.seq, best.hit.ordinal), None) is None:
            continue  # part of a better moment
        moment = [best]
        while len(moment) < MAX_SEGMENTS:
            neighbours = [
                other
                for edge, step in ((moment[0], -1), (moment[-1], +1))
                if (other := free.get((best.hit.seq, edge.hit.ordinal + step)))
                and _touch(edge, other)
                and is_close(other, best, good)
            ]
            if not neighbours:
                break
            better = min(neighbours, key=_standing)
            del free[better.hit.seq, better.hit.ordinal]
            moment.insert(0 if better.hit.ordinal < best.hit.ordinal else len(moment), better)
        yield moment


def is_close(other: Candidate, best: Candidate, good: float = GOOD_PROBABILITY) -> bool:
    """Tell whether a segment is about as good an answer as the best of its moment.

    If both were re-ranked: each is good (more likely than not; of a calibrated model, what a
    confident answer must reach), and the other has at least 0.7 of the best's probability. Else
    by similarity: at least 0.9 of the best's.
    """
    if best.probability is not None and best.probability < good:
        return False
    if best.probability is not None and other.probability is not None:
        floor = max(good, CLOSE_PROBABILITY * best.probability)
        return other.probability >= floor
    return other.hit.similarity >= CLOSE_SIMILARITY * best.hit.similarity > 0


def describe(moment: Sequence[Candidate], *, rank: int) -> Moment:
    """Say what is shown of a moment."""
    best = min(moment, key=_standing)
    return Moment(
        video_id=best.hit.video_id,
        title=best.segment.title,
        file_name=best.segment.file_name,
        start_s=min(one.segment.start_s for one in moment),
        end_s=max(one.segment.end_s for one in moment),
        similarity=max(-1.0, min(1.0, max(one.hit.similarity for one in moment))),
        match_probability=best.probability,
        rank=rank,
        retrieval_rank=min(one.place for one in moment),
        segments=tuple(sorted(one.hit.ordinal for one in moment)),
        thumbnail_ordinal=best.hit.ordinal,
    )


def best_of_each_video(moments: Iterator[list[Candidate]]) -> Iterator[list[Candidate]]:
    """Leave out all but the first moment of each video."""
    seen: set[UUID] = set()
    for moment in moments:
        video_id = moment[0].hit.video_id
        if video_id not in seen:
            seen.add(video_id)
            yield moment


def _standing(candidate: Candidate) -> tuple[float, int]:
    """Return what candidates are sorted by, best first."""
    if candidate.rerank_score is None:
        return math.inf, candidate.place
    return -candidate.rerank_score, candidate.place


def _touch(one: Candidate, other: Candidate) -> bool:
    first, second = sorted((one.segment, other.segment), key=lambda each: each.ordinal)
    return second.start_s <= first.end_s + TOUCHING_S
