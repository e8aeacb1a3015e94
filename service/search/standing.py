"""Where one segment stands in a search: by similarity, after re-ranking, in the list."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from service.catalog.session import Sessions
from service.index.serving import Serving
from service.search.clips import ClipStore
from service.search.moments import Candidate, Confidence, confidence_in, in_order
from service.search.ranking import allowed_videos, live_candidates, moments_of, rerank
from service.search.reasons import Because, Reason
from service.search.request import Plan
from service.search.stopwatch import Stopwatch


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All that a search found.

    Attributes:
        plan: what was asked.
        allowed: videos that pass the filter; None if all do.
        candidates: best first.
        moments: as they are listed, best first.
        confidence: whether there is an answer among them.
        least_similarity: of the last that the index returned; None if it had no more.
    """

    plan: Plan
    allowed: AbstractSet[UUID] | None
    candidates: Sequence[Candidate]
    moments: Sequence[Sequence[Candidate]]
    confidence: Confidence
    least_similarity: float | None

    @property
    def is_shown(self) -> bool:
        """Whether a search shows any of it."""
        return self.confidence != "none" or self.plan.include_unsure

    def find(self, wanted: Candidate) -> Candidate | None:
        """Return a segment as the search ranked it, if it is a candidate."""
        key = wanted.segment.key
        return next((one for one in self.candidates if one.segment.key == key), None)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a segment stands.

    Attributes:
        rank_by_similarity: among all segments that can be found, 1 = most similar.
        similarity_needed: to be among the candidates, if that is what it lacks.
        rank: of the moment that shows it, 1 = best; None if none does.
        because: what became of it, step by step.
    """

    rank_by_similarity: int
    similarity_needed: float | None
    rank: int | None
    because: Sequence[Because]


def list_all(
    plan: Plan,
    query: NDArray[np.float32],
    *,
    serving: Serving,
    reads: Sessions,
    clips: ClipStore,
) -> Listing:
    """Do what a search does, and keep all of it.

    Args:
        plan: what is asked.
        query: embedding of its text, (E,).
        serving: index and encoder.
        reads: transactions that only read.
        clips: what the fused pass looks at.
    """
    allowed = allowed_videos(plan, reads)
    hits = serving.view.search(query, plan.candidates, allowed)
    live = live_candidates(hits, reads, serving.view.generation_id)
    candidates, is_degraded = rerank(
        live, plan, encoder=serving.encoder, clips=clips, watch=Stopwatch()
    )
    least = serving.encoder.confident_probability
    ranked = in_order(candidates)
    return Listing(
        plan=plan,
        allowed=allowed,
        candidates=ranked,
        moments=list(moments_of(ranked, plan, encoder=serving.encoder)),
        confidence=confidence_in(candidates, least=least, is_degraded=is_degraded),
        least_similarity=hits[-1].similarity if len(hits) == plan.candidates else None,
    )


def stand(
    segment: Candidate, listing: Listing, query: NDArray[np.float32], serving: Serving
) -> Standing:
    """Say where a segment stands in a listing.

    Args:
        segment: of a video that passes the filter, or not.
        listing: of the search.
        query: embedding of its text, (E,).
        serving: what it searched.
    """
    similarity = segment.hit.similarity
    found = listing.find(segment)
    is_shown = found is not None and listing.is_shown
    rank = _rank_of(segment, listing) if is_shown else None
    if found is None:
        before = serving.view.count_above(query, similarity, listing.allowed)
        because = [_below_candidates(segment, listing, place=before + 1)]
    else:
        because = list(_because(found, listing, rank, has_matcher=serving.encoder.spec.has_matcher))
    return Standing(
        rank_by_similarity=serving.view.count_above(query, similarity) + 1,
        similarity_needed=listing.least_similarity if found is None else None,
        rank=rank,
        because=because,
    )


def _rank_of(segment: Candidate, listing: Listing) -> int | None:
    key = segment.segment.key
    for rank, moment in enumerate(listing.moments, start=1):
        if any(one.segment.key == key for one in moment):
            return rank
    return None


def _below_candidates(segment: Candidate, listing: Listing, *, place: int) -> Because:
    needed = listing.least_similarity
    sentence = (
        f"Its best segment is number {place} by similarity, and the index returns the first "
        f"{listing.plan.candidates}."
    )
    if needed is not None:
        sentence += f" Its similarity is {segment.hit.similarity:.4f}; {needed:.4f} was needed."
    return Because(Reason.BELOW_CANDIDATES, sentence)


def _because(
    found: Candidate, listing: Listing, rank: int | None, *, has_matcher: bool
) -> Iterator[Because]:
    """Say what became of a candidate, step by step."""
    if has_matcher and listing.plan.rerank_depth:
        yield from _of_reranking(found, listing)
    if not listing.is_shown:
        known = [one.probability for one in listing.candidates if one.probability is not None]
        yield Because(
            Reason.NO_CONFIDENT_MATCH,
            f"No moment is a confident match (the best has a match probability of "
            f"{max(known):.3f}), so none is shown unless `include_unsure` is set.",
        )
    elif rank is None:
        sentence = "Another moment of the same video is better, and each video is shown once."
        yield Because(Reason.GROUPED, sentence)
    else:
        best = min(listing.moments[rank - 1], key=listing.candidates.index)
        if best.segment.key != found.segment.key:
            yield Because(
                Reason.JOINED,
                f"It adjoins a better segment, the one at {best.segment.start_s:.1f} s, and is "
                "shown as one moment with it.",
            )
        yield Because(Reason.FOUND, f"It is shown as number {rank}.")


def _of_reranking(found: Candidate, listing: Listing) -> Iterator[Because]:
    depth, place = listing.plan.rerank_depth, found.place
    if found.log_odds is None:
        if place > depth:
            why = f"It is number {place} by similarity, and the first {depth} are re-ranked."
        else:
            why = "It was not re-ranked: the time was over, or its stored clip cannot be used."
        yield Because(Reason.NOT_RERANKED, why)
    new = listing.candidates.index(found) + 1
    if new != place:
        is_up = new < place
        how = f"Re-ranking moved it {'up' if is_up else 'down'}, from number {place} to {new}."
        yield Because(Reason.RERANKED_UP if is_up else Reason.RERANKED_DOWN, how)
