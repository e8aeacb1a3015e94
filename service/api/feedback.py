"""/v1/feedback: what people say of hits."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from service.api import problems
from service.api.caption_schemas import FeedbackIn, FeedbackOut, FeedbackPage, PlaceIn, PlaceOut
from service.api.captions import key_of
from service.api.deps import AdminAccess, ReadSessionDep, SearchAccess, StateDep
from service.api.once import ONCE
from service.api.schemas import Cursor
from service.captions import feedback
from service.captions.feedback import NewFeedback, Place
from service.captions.writing import MAX_PAGE
from service.catalog.caption_tables import Feedback
from service.errors import (
    BadRequestError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
)

router = APIRouter(
    prefix="/v1/feedback",
    tags=["feedback"],
    responses=problems.responses(UnauthenticatedError, ForbiddenError, InvalidInputError),
)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    dependencies=[ONCE],
    responses={
        200: {"model": FeedbackOut, "description": "This was said last, too."},
        **problems.responses(NotFoundError),
    },
)
def give_feedback(
    body: FeedbackIn, response: Response, state: StateDep, principal: SearchAccess
) -> FeedbackOut:
    """Say whether a hit answers the query, or what was meant instead; tunings learn from it.

    Of what is said of the same query and moment the newest counts.
    """
    new = NewFeedback(
        text=body.text,
        verdict=body.verdict,
        hit=_place(body),
        instead=None if body.instead is None else _place(body.instead),
        receipt=body.receipt.model_dump(mode="json"),
    )
    made, is_new = feedback.give_feedback(state.sessions, new, created_by=key_of(principal))
    response.headers["Location"] = f"/v1/feedback/{made.id}"
    if not is_new:
        response.status_code = HTTPStatus.OK
    return _feedback_out(made)


@router.get("", responses=problems.responses(BadRequestError))
def list_feedback(
    *,
    state: StateDep,
    _access: AdminAccess,
    session: ReadSessionDep,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    cursor: Cursor | None = None,
) -> FeedbackPage:
    """Return feedback, newest first."""
    page = feedback.list_feedback(session, secret=state.cursor_key, limit=limit, cursor=cursor)
    return FeedbackPage(
        feedback=[_feedback_out(one) for one in page.feedback], next_cursor=page.next_cursor
    )


@router.delete(
    "/{feedback_id}", status_code=HTTPStatus.NO_CONTENT, responses=problems.responses(NotFoundError)
)
def delete_feedback(feedback_id: UUID, state: StateDep, _access: AdminAccess) -> None:
    """Delete feedback: no tuning that starts from now on learns from it."""
    feedback.delete_feedback(state.sessions, feedback_id)


def _place(place: PlaceIn) -> Place:
    return Place(video_id=place.video_id, start_s=place.start_s, end_s=place.end_s)


def _feedback_out(one: Feedback) -> FeedbackOut:
    instead = None
    if one.instead_video_id is not None:
        instead = PlaceOut(
            video_id=one.instead_video_id, start_s=one.instead_start_s, end_s=one.instead_end_s
        )
    return FeedbackOut(
        id=one.id,
        text=one.text,
        verdict=one.verdict,
        video_id=one.video_id,
        start_s=one.start_s,
        end_s=one.end_s,
        instead=instead,
        receipt=one.receipt,
        created_at=one.created_at,
    )
