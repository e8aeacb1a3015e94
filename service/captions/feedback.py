"""Use cases of feedback: what a person says of a hit."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from service.captions.checking import check_span, check_text
from service.captions.writing import MAX_PAGE, lock_video_length, read_cursor, write_cursor
from service.catalog import feedback_queries
from service.catalog.caption_tables import Feedback, Verdict
from service.catalog.session import Sessions, in_transaction
from service.errors import InvalidInputError, NotFoundError

CURSOR_KIND = "feedback"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A moment of a video; without a span, all of it."""

    video_id: UUID
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class NewFeedback:
    """What a person says of a hit.

    Attributes:
        text: the query.
        verdict: whether the hit answers it.
        hit: the moment that was shown.
        instead: the moment that was meant, if the verdict says that there is one.
        receipt: of the answer that showed the hit. It is kept as it is, even if its generation is
            gone by now: what was said is true of the video, whichever index found it.
    """

    text: str
    verdict: Verdict
    hit: Place
    receipt: dict[str, Any]
    instead: Place | None = None


@dataclass(frozen=True, kw_only=True)
class FeedbackPage:
    """Some feedback, newest first, and where the next begins."""

    feedback: list[Feedback]
    next_cursor: str | None


def give_feedback(
    sessions: Sessions, new: NewFeedback, *, created_by: UUID | None = None
) -> tuple[Feedback, bool]:
    """Keep what a person says of a hit; the newest counts.

    Returns:
        The feedback, and whether it is new: what was said last is not written again.

    Raises:
        NotFoundError: there is no such video.
        InvalidInputError: the text or a span is not allowed, or the verdict lacks its moment.
    """
    text = check_text(new.text)
    if (new.instead is not None) != (new.verdict is Verdict.INSTEAD):
        raise InvalidInputError(
            "`instead` names the moment that was meant: the verdict 'instead' needs it, and "
            "no other verdict has it."
        )

    def give(session: Session) -> tuple[Feedback, bool]:
        hit = _check_place(session, new.hit)
        instead = None if new.instead is None else _check_place(session, new.instead)
        if hit == instead:
            raise InvalidInputError("The hit and what was meant instead are the same moment.")
        made = Feedback(
            id=uuid4(),
            text=text,
            verdict=new.verdict,
            video_id=hit.video_id,
            start_s=hit.start_s,
            end_s=hit.end_s,
            instead_video_id=instead.video_id if instead else None,
            instead_start_s=instead.start_s if instead else None,
            instead_end_s=instead.end_s if instead else None,
            receipt=new.receipt,
            created_by=created_by,
        )
        last = feedback_queries.newest_feedback(
            session, text=text, video_id=hit.video_id, start_s=hit.start_s, end_s=hit.end_s
        )
        if last is not None and _judgement(last) == _judgement(made):
            return last, False
        session.add(made)
        session.flush()
        return made, True

    return in_transaction(sessions, give)


def list_feedback(
    session: Session, *, secret: bytes, limit: int = 50, cursor: str | None = None
) -> FeedbackPage:
    """Return a page of feedback, newest first; pages do not shift.

    Raises:
        InvalidInputError: `limit` is out of bounds.
        BadRequestError: the cursor is not one of this list.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInputError(f"A page has 1 to {MAX_PAGE} entries.")
    before = read_cursor(secret, CURSOR_KIND, cursor, of=None)
    found = feedback_queries.list_feedback(session, before=before, limit=limit + 1)
    next_cursor = None
    if len(found) > limit:
        last = found[limit - 1]
        next_cursor = write_cursor(secret, CURSOR_KIND, last.created_at, last.id, of=None)
    return FeedbackPage(feedback=found[:limit], next_cursor=next_cursor)


def delete_feedback(sessions: Sessions, feedback_id: UUID) -> None:
    """Delete feedback, and every pair made from it: nothing learns from it any more.

    Raises:
        NotFoundError: there is none with this id.
    """
    if not in_transaction(sessions, lambda s: feedback_queries.delete_feedback(s, feedback_id)):
        raise NotFoundError(f"There is no feedback {feedback_id}.")


def _check_place(session: Session, place: Place) -> Place:
    duration_s = lock_video_length(session, place.video_id)
    span = check_span(place.start_s, place.end_s, duration_s)
    return Place(video_id=place.video_id, start_s=span.start_s, end_s=span.end_s)


def _judgement(one: Feedback) -> tuple[Any, ...]:
    return one.verdict, one.instead_video_id, one.instead_start_s, one.instead_end_s
