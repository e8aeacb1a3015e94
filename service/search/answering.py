"""The story of a search."""

from collections.abc import Sequence
from itertools import islice

from service.catalog.session import Sessions
from service.errors import BadRequestError
from service.index.replica import IndexReplica
from service.index.serving import Serving
from service.search import pages
from service.search.clips import ClipStore
from service.search.moments import Candidate, confidence_in, describe, in_order
from service.search.pages import Page
from service.search.ranking import allowed_videos, live_candidates, moments_of, rerank
from service.search.request import Answer, Plan, Receipt, SearchRequest, make_plan
from service.search.stopwatch import Stopwatch
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
        allowed = allowed_videos(plan, reads)
    with watch.stage("faiss"):
        hits = serving.view.search(query, plan.candidates, allowed, max_seq=page.seq)
    with watch.stage("sql"):
        candidates = live_candidates(hits, reads, serving.view.generation_id)
    candidates, is_degraded = rerank(
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
    moments = moments_of(left, plan, encoder=serving.encoder)
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
