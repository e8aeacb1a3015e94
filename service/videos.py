"""Use cases of videos that are there: list, read, change what is said about them, delete."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from service.catalog import ingest_queries, video_queries
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import VideoState, utc_now
from service.catalog.video_queries import VideoRecord
from service.cursors import decode_cursor, encode_cursor
from service.errors import BadRequestError, InvalidInputError, NotFoundError
from service.metadata import check_fields, check_tags, check_title

MAX_PAGE = 200
CURSOR_KIND = "videos"


@dataclass(frozen=True, kw_only=True)
class VideoPage:
    """Some videos, newest first, and where the next ones begin."""

    videos: list[VideoRecord]
    next_cursor: str | None


@dataclass(frozen=True, kw_only=True)
class VideoPatch:
    """What to change; None leaves it as it is."""

    title: str | None = None
    tags: Collection[str] | None = None
    fields: dict[str, Any] | None = None


def list_videos(
    session: Session,
    *,
    secret: bytes,
    states: Collection[VideoState] = (),
    tags: Collection[str] = (),
    limit: int = 50,
    cursor: str | None = None,
) -> VideoPage:
    """Return a page of videos, newest first.

    Pages do not shift: the cursor says after which video the next page begins, so uploads and
    deletes in between neither repeat nor hide another video.

    Raises:
        InvalidInputError: `limit` is out of bounds.
        BadRequestError: the cursor is not one of this list and these filters.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInputError(f"A page has 1 to {MAX_PAGE} videos.")
    filters = [sorted(map(str, states)), sorted(set(tags))]
    before = None
    if cursor is not None:
        created_at, video_id, filters_then = decode_cursor(secret, CURSOR_KIND, cursor)
        if filters_then != filters:
            raise BadRequestError(
                "The cursor belongs to other filters; ask for the first page.", reason="bad_cursor"
            )
        before = (datetime.fromisoformat(created_at), UUID(video_id))
    found = video_queries.list_videos(
        session, states=states, tags=tags, before=before, limit=limit + 1
    )
    next_cursor = None
    if len(found) > limit:
        last = found[limit - 1].video
        position = [last.created_at.isoformat(), str(last.id), filters]
        next_cursor = encode_cursor(secret, CURSOR_KIND, position)
    return VideoPage(videos=found[:limit], next_cursor=next_cursor)


def read_video(session: Session, video_id: UUID) -> VideoRecord:
    """Return a video.

    Raises:
        NotFoundError: there is none with this id, or it was deleted.
    """
    record = video_queries.find_video(session, video_id)
    if record is None:
        raise NotFoundError(f"There is no video {video_id}.")
    return record


def patch_video(sessions: Sessions, video_id: UUID, patch: VideoPatch) -> VideoRecord:
    """Change what is said about a video.

    Raises:
        NotFoundError: there is none with this id, or it was deleted.
        InvalidInputError: a value is not allowed.
    """
    title = None if patch.title is None else check_title(patch.title)
    tags = None if patch.tags is None else check_tags(list(patch.tags))
    fields = None if patch.fields is None else check_fields(patch.fields)

    def change(session: Session) -> VideoRecord:
        video = ingest_queries.lock_video(session, video_id)
        if title is not None:
            video.title = title
        if fields is not None:
            video.fields = fields
        if tags is not None:
            video_queries.replace_tags(session, video_id, tags)
        video.updated_at = utc_now()
        session.flush()
        return read_video(session, video_id)

    return in_transaction(sessions, change)


def delete_video(sessions: Sessions, video_id: UUID) -> int:
    """Delete a video: no search that starts after this returns it.

    Returns:
        The number of the change, for readers that wait for it.

    Raises:
        NotFoundError: there is none with this id, or it was deleted already.
    """
    return in_transaction(sessions, lambda session: ingest_queries.delete_video(session, video_id))
