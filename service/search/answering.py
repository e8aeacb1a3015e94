"""The story of a search."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from uuid import UUID

from service.catalog.index_queries import SegmentKey, filter_video_ids
from service.catalog.live_queries import live_segments
from service.catalog.session import Sessions
from service.encoder import Encoder
from service.errors import BadRequestError
from service.index.faiss_index import Hit
from service.index.replica import IndexReplica
from service.index.serving import Serving
from service.search import pages
from service.search.clips import ClipStore, clip_key
from service.search.moments import (
    GOOD_PROBABILITY,
    Candidate,
    best_of_each_video,
    confidence_in,
    describe,
    in_order,
    join_adjoining,
)
from service.search.pages import Page
from service.search.request import Answer, Plan, Receipt, SearchRequest, make_plan
from service.settings import Settings


def search(
    request: SearchRequest,
    *,
    replica: IndexReplica,
    reads: Sessions,
    clips: ClipStore,
    settings: Settings,
    cursor_key: bytes,
) -> Answer:
    """Return the moments that match a text, best first.

    Args:
        request: what is asked.
        replica: gives the index and its encoder, one pair for the whole search.
        reads: transactions that only read.
        clips: what the fused pass looks at.
        settings: what the request leaves open.
        cursor_key: signs cursors; all processes share it.

    Raises:
        InvalidInputError: the text cannot be searched for.
        BadRequestError: the cursor is not of this search, or no answer had this receipt.
        ConflictError: the cursor or the receipt is of an index that is not kept any more.
        UnavailableError: the index is not ready or too far behind, or too many searches wait.
    """
    watch = Stopwatch()
    plan = make_plan(request, settings)
    page = _page_asked(request, plan, cursor_key)
    with watch.stage("wait"):
        serving = _serving_for(page, request, replica)
    if page is None:
        page = Page.first(serving.view, plan)
    with watch.stage("embed"):
        query = serving.encoder.embed_text(plan.text)
    with watch.stage("sql"):
        allowed = _allowed(plan, reads)
    with watch.stage("faiss"):
        hits = serving.view.search(query, plan.candidates, allowed, max_seq=page.seq)
    with watch.stage("sql"):
        candidates = _live(hits, reads, serving.view.generation_id)
    candidates, is_degraded = _rerank(
        candidates, plan, encoder=serving.encoder, clips=clips, watch=watch
    )
    return _page_of(
        candidates,
        plan=plan,
        page=page,
        serving=serving,
        is_degraded=is_degraded,
        cursor_key=cursor_key,
        watch=watch,
    )


class Stopwatch:
    """Add up the time that the stages of a search take."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._spent_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside as that of a stage."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._spent_s[name] = self._spent_s.get(name, 0.0) + time.monotonic() - began

    def timings_ms(self) -> dict[str, float]:
        """Return the time by stage, the rest as `other`, and the total, milliseconds."""
        total_s = time.monotonic() - self.began
        spent = {**self._spent_s, "other": total_s - sum(self._spent_s.values()), "total": total_s}
        return {name: round(seconds * 1000, 3) for name, seconds in spent.items()}


def _page_asked(request: SearchRequest, plan: Plan, cursor_key: bytes) -> Page | None:
    """Return the page that a cursor or a receipt asks for; None: the first of a new list."""
    replayed = Page.replay(request.receipt, plan) if request.receipt else None
    if request.cursor is None:
        return replayed
    page = pages.decode(request.cursor, plan, cursor_key)
    if replayed is not None and not page.is_of(replayed):
        raise BadRequestError(
            "The cursor is not of the answer that the receipt belongs to.", reason="bad_cursor"
        )
    return page


def _serving_for(page: Page | None, request: SearchRequest, replica: IndexReplica) -> Serving:
    """Return index and encoder, caught up with what the client has seen."""
    min_seq = request.min_seq or 0
    if page is None:
        return replica.serving(min_seq=min_seq)
    page.check(replica.serving(generation_id=page.generation_id).view)
    serving = replica.serving(min_seq=max(min_seq, page.seq), generation_id=page.generation_id)
    page.check(serving.view)
    receipt = request.receipt
    if receipt is not None and receipt.model_version_id != serving.view.model_version_id:
        raise BadRequestError(
            "No answer had this receipt: its index is not of its model version.",
            reason="bad_receipt",
        )
    return serving


def _allowed(plan: Plan, reads: Sessions) -> set[UUID] | None:
    """Return the videos that may be found; None if all may."""
    if plan.filter.is_empty:
        return None
    with reads() as session:
        return filter_video_ids(session, plan.filter)


def _live(hits: Sequence[Hit], reads: Sessions, generation_id: UUID) -> list[Candidate]:
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


def _rerank(
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
        read = [(clip_key(one.segment), clips.read(one.segment)) for one in unknown]
        wanted = [(key, clip) for key, clip in read if encoder.can_match(clip)]
    with watch.stage("match"):
        matched = encoder.match(plan.text, wanted, deadline) if wanted else []
    for (key, _clip), answer in zip(wanted, matched, strict=True):
        if answer is not None:
            log_odds[key] = answer
    reranked = [_matched(one, log_odds.get(clip_key(one.segment)), encoder) for one in best]
    return [*reranked, *candidates[len(best) :]], len(log_odds) < len(best)


def _matched(candidate: Candidate, log_odds: float | None, encoder: Encoder) -> Candidate:
    if log_odds is None:
        return candidate
    similarity = candidate.hit.similarity
    return replace(
        candidate,
        log_odds=log_odds,
        rerank_score=encoder.rerank_score(similarity=similarity, log_odds=log_odds),
        probability=encoder.probability(similarity=similarity, log_odds=log_odds),
    )


def _page_of(
    candidates: Sequence[Candidate],
    *,
    plan: Plan,
    page: Page,
    serving: Serving,
    is_degraded: bool,
    cursor_key: bytes,
    watch: Stopwatch,
) -> Answer:
    """Join what was not shown yet into moments and cut off one page."""
    least = serving.encoder.confident_probability
    confidence = confidence_in(candidates, least=least, is_degraded=is_degraded)
    is_shown = confidence != "none" or plan.include_unsure
    ranked = in_order(candidates) if is_shown else []
    left = [one for one in ranked if not page.has_shown(one.hit)]
    moments = join_adjoining(left, good=GOOD_PROBABILITY if least is None else least)
    if plan.group_by == "video":
        moments = best_of_each_video(moments)
    shown = list(islice(moments, plan.limit))
    has_more = next(moments, None) is not None
    view = serving.view
    return Answer(
        moments=[
            describe(moment, rank=rank)
            for rank, moment in enumerate(shown, start=page.num_shown + 1)
        ],
        receipt=Receipt(
            model_version_id=view.model_version_id,
            generation_id=view.generation_id,
            epoch=view.epoch,
            seq=page.seq,
            candidates=len(candidates),
            reranked=sum(one.log_odds is not None for one in candidates),
        ),
        next_cursor=pages.encode(page.after(shown, plan), cursor_key) if has_more else None,
        degraded=is_degraded,
        confidence=confidence,
        timings_ms=watch.timings_ms(),
    )
