"""The parts of a search: what may be found, what is still live, what the fused pass says of it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import UUID

from service.catalog.index_queries import SegmentKey, filter_video_ids
from service.catalog.live_queries import live_segments
from service.catalog.session import Sessions
from service.encoder import Encoder
from service.index.faiss_index import Hit
from service.search.clips import ClipStore, clip_key
from service.search.moments import (
    GOOD_PROBABILITY,
    Candidate,
    best_of_each_video,
    join_adjoining,
)
from service.search.request import Plan
from service.search.stopwatch import Stopwatch


def allowed_videos(plan: Plan, reads: Sessions) -> set[UUID] | None:
    """Return the videos that may be found; None if all may."""
    if plan.filter.is_empty:
        return None
    with reads() as session:
        return filter_video_ids(session, plan.filter)


def live_candidates(hits: Sequence[Hit], reads: Sessions, generation_id: UUID) -> list[Candidate]:
    """Leave out what was deleted or replaced since the replica learned of it."""
    if not hits:
        return []
    with reads() as session:
        keys = [SegmentKey(hit.video_id, hit.ordinal) for hit in hits]
        segments = live_segments(session, keys, generation_id)
    live = [
        (hit, segment)
        for hit, segment in zip(hits, segments, strict=True)
        if segment is not None and segment.video_version == hit.version
    ]
    return [
        Candidate(hit=hit, segment=segment, place=place)
        for place, (hit, segment) in enumerate(live, start=1)
    ]


def rerank(
    candidates: list[Candidate],
    plan: Plan,
    *,
    encoder: Encoder,
    clips: ClipStore,
    watch: Stopwatch,
) -> tuple[list[Candidate], bool]:
    """Match the best candidates with the text, as far as the deadline allows.

    Returns:
        All candidates, and whether some that should have been matched were not.
    """
    if not encoder.spec.has_matcher:
        return candidates, False
    best = candidates[: plan.rerank_depth]
    deadline = watch.began + plan.deadline_s
    log_odds = encoder.recall(plan.text, [clip_key(one.segment) for one in best])
    unknown = [one for one in best if clip_key(one.segment) not in log_odds]
    with watch.stage("clips"):
        read = clips.read_all([one.segment for one in unknown], deadline)
        wanted = [
            (clip_key(one.segment), clip)
            for one, clip in zip(unknown, read, strict=True)
            if encoder.can_match(clip)
        ]
    with watch.stage("match"):
        matched = encoder.match(plan.text, wanted, deadline) if wanted else []
    for (key, _clip), answer in zip(wanted, matched, strict=True):
        if answer is not None:
            log_odds[key] = answer
    reranked = [with_match(one, log_odds.get(clip_key(one.segment)), encoder) for one in best]
    return [*reranked, *candidates[len(best) :]], len(log_odds) < len(best)


def with_match(candidate: Candidate, log_odds: float | None, encoder: Encoder) -> Candidate:
    if log_odds is None:
        return candidate
    similarity = candidate.hit.similarity
    return replace(
        candidate,
        log_odds=log_odds,
        rerank_score=encoder.rerank_score(similarity=similarity, log_odds=log_odds),
        probability=encoder.probability(similarity=similarity, log_odds=log_odds),
    )


def moments_of(
    ranked: Sequence[Candidate], plan: Plan, *, encoder: Encoder
) -> Iterator[list[Candidate]]:
    """Join candidates, best first, into the moments that are listed, best first."""
    least = encoder.confident_probability
    moments = join_adjoining(ranked, good=GOOD_PROBABILITY if least is None else least)
    return best_of_each_video(moments) if plan.group_by == "video" else moments
