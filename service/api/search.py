"""/v1/search: a sentence in, moments out."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response

from service.api import problems
from service.api.deps import SearchAccess, StateDep
from service.api.schemas import (
    AnswerOut,
    Cursor,
    MomentOut,
    ReceiptOut,
    SearchFilterIn,
    SearchIn,
    SearchText,
    Tag,
)
from service.api.state import State
from service.api.videos import thumbnail_url
from service.catalog.index_queries import VideoFilter
from service.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    UnauthenticatedError,
    UnavailableError,
)
from service.search import Answer, Moment, Receipt, SearchRequest, search

router = APIRouter(
    prefix="/v1/search",
    tags=["search"],
    responses=problems.responses(
        BadRequestError,
        UnauthenticatedError,
        ForbiddenError,
        ConflictError,
        InvalidInputError,
        UnavailableError,
    ),
)


@router.post("")
async def search_moments(
    body: SearchIn, response: Response, state: StateDep, _access: SearchAccess
) -> AnswerOut:
    """Return the moments that match a text, best first; `Server-Timing` says what took how long."""
    return await _answer(body, response, state)


@router.get("")
async def search_by_link(
    *,
    response: Response,
    state: StateDep,
    _access: SearchAccess,
    text: Annotated[SearchText, Query()],
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    rerank_depth: Annotated[int | None, Query(ge=0, le=1000)] = None,
    group_by: Literal["moment", "video"] = "moment",
    tags: Annotated[list[Tag], Query(alias="tag", max_length=20)] = [],  # noqa: B006
    video_ids: Annotated[list[UUID] | None, Query(alias="video_id", max_length=100)] = None,
    cursor: Cursor | None = None,
    include_unsure: Annotated[bool, Query()] = False,
) -> AnswerOut:
    """Do the same for links: POST knows more."""
    body = SearchIn(
        text=text,
        limit=limit,
        rerank_depth=rerank_depth,
        group_by=group_by,
        filter=SearchFilterIn(tags=tags, video_ids=video_ids),
        cursor=cursor,
        include_unsure=include_unsure,
    )
    return await _answer(body, response, state)


async def _answer(body: SearchIn, response: Response, state: State) -> AnswerOut:
    work = partial(
        search,
        _request(body),
        replica=state.search_parts.get(),
        reads=state.reads,
        clips=state.clips,
        settings=state.settings,
        cursor_key=state.cursor_key,
    )
    answer = await state.searches.run(work)
    state.metrics.observe_search(answer.timings_ms, is_degraded=answer.degraded)
    response.headers["Server-Timing"] = _server_timing(answer.timings_ms)
    response.headers["Cache-Control"] = "no-store"
    return _answer_out(answer)


def _request(body: SearchIn) -> SearchRequest:
    return SearchRequest(
        text=body.text,
        limit=body.limit,
        candidates=body.candidates,
        rerank_depth=body.rerank_depth,
        deadline_ms=body.deadline_ms,
        group_by=body.group_by,
        filter=video_filter(body.filter),
        cursor=body.cursor,
        min_seq=body.min_seq,
        receipt=Receipt(**body.receipt.model_dump()) if body.receipt else None,
        include_unsure=body.include_unsure,
    )


def video_filter(wanted: SearchFilterIn) -> VideoFilter:
    """Return a filter as the use cases take it."""
    return VideoFilter(
        tags=wanted.tags or None,
        video_ids=wanted.video_ids,
        created_after=wanted.created_after,
        created_before=wanted.created_before,
        min_duration_s=wanted.min_duration_s,
        max_duration_s=wanted.max_duration_s,
    )


def _server_timing(timings_ms: Mapping[str, float]) -> str:
    """Write the stages as browsers' developer tools read them (W3C Server Timing)."""
    return ", ".join(f"{stage};dur={duration:.1f}" for stage, duration in timings_ms.items())


def _answer_out(answer: Answer) -> AnswerOut:
    receipt = answer.receipt
    return AnswerOut(
        moments=[_moment_out(moment) for moment in answer.moments],
        receipt=ReceiptOut.model_validate(receipt, from_attributes=True),
        next_cursor=answer.next_cursor,
        degraded=answer.degraded,
        confidence=answer.confidence,
    )


def _moment_out(moment: Moment) -> MomentOut:
    span = f"t={moment.start_s:.3f},{moment.end_s:.3f}"  # W3C Media Fragments
    return MomentOut(
        video_id=moment.video_id,
        title=moment.title,
        start_s=moment.start_s,
        end_s=moment.end_s,
        similarity=moment.similarity,
        match_probability=moment.match_probability,
        rank=moment.rank,
        retrieval_rank=moment.retrieval_rank,
        thumbnail_url=thumbnail_url(moment.video_id, moment.thumbnail_ordinal),
        media_url=f"/v1/videos/{moment.video_id}/content#{span}",
        segments=list(moment.segments),
    )
