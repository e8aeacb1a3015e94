"""Use cases of single captions: add, list, delete."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from service.captions.checking import check_span, check_text
from service.catalog import caption_queries, video_queries
from service.catalog.caption_tables import Caption, CaptionSource
from service.catalog.session import Sessions, in_transaction
from service.cursors import decode_cursor, encode_cursor
from service.errors import BadRequestError, InvalidInputError, NotFoundError

MAX_PAGE = 200
CURSOR_KIND = "captions"


@dataclass(frozen=True, kw_only=True)
class NewCaption:
    """A sentence that describes a video, or a span of it.

    Attributes:
        video_id: the video, in whatever state.
        text: what happens.
        start_s: where the span begins, seconds; both None: the whole video.
        end_s: where it ends.
    """

    video_id: UUID
    text: str
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class CaptionPage:
    """Some captions, newest first, and where the next ones begin."""

    captions: list[Caption]
    next_cursor: str | None


def add_caption(
    sessions: Sessions, new: NewCaption, *, created_by: UUID | None = None
) -> tuple[Caption, bool]:
    """Add a caption.

    Returns:
        The caption, and whether it is new: the same words about the same span are kept once.

    Raises:
        NotFoundError: there is no such video.
        InvalidInputError: the text or the span is not allowed.
    """
    text = check_text(new.text)

    def add(session: Session) -> tuple[Caption, bool]:
        duration_s = lock_video_length(session, new.video_id)
        span = check_span(new.start_s, new.end_s, duration_s)
        earlier = caption_queries.find_caption(session, new.video_id, text, *span)
        if earlier is not None:
            return earlier, False
        caption = Caption(
            id=uuid4(),
            video_id=new.video_id,
            text=text,
            start_s=span.start_s,
            end_s=span.end_s,
            source=CaptionSource.TYPED,
            created_by=created_by,
        )
        session.add(caption)
        session.flush()
        return caption, True

    return in_transaction(sessions, add)


def lock_video_length(session: Session, video_id: UUID) -> float | None:
    """Lock a video that is not deleted, and return how long it is, seconds.

    Raises:
        NotFoundError: there is no such video.
    """
    lengths = caption_queries.lock_lengths(session, [video_id])
    if video_id not in lengths:
        raise NotFoundError(f"There is no video {video_id}.")
    return lengths[video_id]


def list_captions(
    session: Session,
    *,
    secret: bytes,
    video_id: UUID | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> CaptionPage:
    """Return a page of captions, newest first; pages do not shift.

    Raises:
        NotFoundError: there is no such video.
        InvalidInputError: `limit` is out of bounds.
        BadRequestError: the cursor is not one of this list.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInputError(f"A page has 1 to {MAX_PAGE} captions.")
    if video_id is not None and video_queries.find_video(session, video_id) is None:
        raise NotFoundError(f"There is no video {video_id}.")
    before = read_cursor(secret, CURSOR_KIND, cursor, of=video_id)
    found = caption_queries.list_captions(
        session, video_id=video_id, before=before, limit=limit + 1
    )
    next_cursor = None
    if len(found) > limit:
        last = found[limit - 1]
        next_cursor = write_cursor(secret, CURSOR_KIND, last.created_at, last.id, of=video_id)
    return CaptionPage(captions=found[:limit], next_cursor=next_cursor)


def delete_caption(sessions: Sessions, caption_id: UUID) -> None:
    """Delete a caption, and every pair made from it: nothing learns from it any more.

    Raises:
        NotFoundError: there is none with this id.
    """
    if not in_transaction(sessions, lambda s: caption_queries.delete_caption(s, caption_id)):
        raise NotFoundError(f"There is no caption {caption_id}.")


def read_cursor(
    secret: bytes, kind: str, cursor: str | None, *, of: UUID | None
) -> tuple[datetime, UUID] | None:
    """Return behind what a page begins; None: at the start.

    Raises:
        BadRequestError: the cursor is not one of this list.
    """
    if cursor is None:
        return None
    position: Any = decode_cursor(secret, kind, cursor)
    created_at, last_id, list_then = position
    if list_then != str(of):
        raise BadRequestError(
            "The cursor belongs to another list; ask for the first page.", reason="bad_cursor"
        )
    return datetime.fromisoformat(created_at), UUID(last_id)


def write_cursor(
    secret: bytes, kind: str, created_at: datetime, last_id: UUID, *, of: UUID | None
) -> str:
    """Return the cursor of the page behind this one."""
    return encode_cursor(secret, kind, [created_at.isoformat(), str(last_id), str(of)])
