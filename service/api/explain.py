"""/v1/search/explain: why is this video found here, or not at all?"""

from functools import partial
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from service.api import problems
from service.api.deps import SearchAccess, StateDep
from service.api.schemas import Body, ReceiptOut, SearchFilterIn, SearchText, Seconds
from service.api.search import video_filter
from service.catalog.tables import VideoState
from service.errors import (
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from service.search import Explanation, SearchRequest, explain
from service.search.reasons import Reason

router = APIRouter(
    prefix="/v1/search",
    tags=["search"],
    responses=problems.responses(
        UnauthenticatedError,
        ForbiddenError,
        NotFoundError,
        InvalidInputError,
        UnavailableError,
    ),
)


class ExplainIn(Body):
    """A search, and the video that is asked about."""

    text: SearchText
    video_id: UUID
    start_s: Seconds | None = Field(
        None, description="Only its segment at this second; else the one that matches best."
    )
    candidates: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = None
    rerank_depth: Annotated[int, Field(strict=True, ge=0, le=1000)] | None = None
    group_by: Literal["moment", "video"] = "moment"
    filter: SearchFilterIn = Field(default_factory=SearchFilterIn)
    include_unsure: bool = False


class ExplainedVideo(BaseModel):
    """The video, and how far its processing is."""

    id: UUID
    title: str
    state: VideoState
    reason: str | None
    detail: str | None
    percent: float
    duration_s: float | None
    num_segments: int


class SearchedGeneration(BaseModel):
    """What was searched."""

    id: UUID
    model_version_id: UUID
    model_name: str


class BestSegment(BaseModel):
    """The segment of the video that answers best, and where it stands."""

    ordinal: int
    start_s: float
    end_s: float
    similarity: float
    similarity_needed: float | None = Field(
        description="What the last candidate has, if this is not similar enough to be one."
    )
    match_log_odds: float | None
    match_probability: float | None
    rank_by_similarity: int = Field(description="Among all segments that can be found.")
    rank: int | None = Field(description="Of the moment that shows it; null if none does.")


class FrameOut(BaseModel):
    """One frame of that segment."""

    position: int
    time_s: float
    similarity: float = Field(description="Of the text with a clip that shows only this frame.")


class FilterOut(BaseModel):
    """One condition of the filter."""

    name: str
    passes: bool


class ExplanationOut(BaseModel):
    """Where a video stands in a search, and why."""

    video: ExplainedVideo
    generation: SearchedGeneration
    is_indexed: bool = Field(description="Whether the index that was searched has the video.")
    why: str
    reasons: list[Reason]
    best_segment: BestSegment | None
    frames: list[FrameOut]
    filters: list[FilterOut]
    receipt: ReceiptOut


@router.post("/explain")
async def explain_search(
    body: ExplainIn, response: Response, state: StateDep, _access: SearchAccess
) -> ExplanationOut:
    """Say where a video stands in a search, found or not, and why."""
    request = SearchRequest(
        text=body.text,
        limit=1,  # leaves the number of candidates as it is
        candidates=body.candidates,
        rerank_depth=body.rerank_depth,
        group_by=body.group_by,
        filter=video_filter(body.filter),
        include_unsure=body.include_unsure,
    )
    work = partial(
        explain,
        request,
        video_id=body.video_id,
        start_s=body.start_s,
        replica=state.search_parts.get(),
        reads=state.reads,
        clips=state.clips,
        settings=state.settings,
    )
    explanation = await state.searches.run(work)
    response.headers["Cache-Control"] = "no-store"
    return _explanation_out(explanation)


def _explanation_out(explanation: Explanation) -> ExplanationOut:
    record, receipt = explanation.record, explanation.receipt
    video = record.video
    return ExplanationOut(
        video=ExplainedVideo(
            id=video.id,
            title=video.title,
            state=video.state,
            reason=video.reason,
            detail=video.detail,
            percent=record.percent,
            duration_s=video.duration_s,
            num_segments=video.num_segments,
        ),
        generation=SearchedGeneration(
            id=receipt.generation_id,
            model_version_id=receipt.model_version_id,
            model_name=explanation.model_name,
        ),
        is_indexed=explanation.is_indexed,
        why=explanation.why,
        reasons=[one.reason for one in explanation.because],
        best_segment=_best_segment(explanation),
        frames=[FrameOut.model_validate(one, from_attributes=True) for one in explanation.frames],
        filters=[
            FilterOut.model_validate(one, from_attributes=True) for one in explanation.filters
        ],
        receipt=ReceiptOut.model_validate(receipt, from_attributes=True),
    )


def _best_segment(explanation: Explanation) -> BestSegment | None:
    best, standing = explanation.best, explanation.standing
    if best is None or standing is None:
        return None
    return BestSegment(
        ordinal=best.hit.ordinal,
        start_s=best.segment.start_s,
        end_s=best.segment.end_s,
        similarity=best.hit.similarity,
        similarity_needed=standing.similarity_needed,
        match_log_odds=best.log_odds,
        match_probability=best.probability,
        rank_by_similarity=standing.rank_by_similarity,
        rank=standing.rank,
    )
