"""/v1/videos: list, read, describe and delete what was uploaded."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from service import videos
from service.api import problems
from service.api.deps import ReadAccess, ReadSessionDep, StateDep, WriteAccess
from service.api.schemas import (
    Cursor,
    MetadataPatch,
    SegmentList,
    SegmentOut,
    Tag,
    VideoLinks,
    VideoOut,
    VideoPage,
)
from service.catalog import index_queries
from service.catalog.tables import VideoState
from service.catalog.video_queries import VideoRecord
from service.errors import (
    BadRequestError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
)
from service.videos import VideoPatch

router = APIRouter(
    prefix="/v1/videos",
    tags=["videos"],
    responses=problems.responses(UnauthenticatedError, ForbiddenError, InvalidInputError),
)


def thumbnail_url(video_id: UUID, ordinal: int) -> str:
    """Return the address of the picture of a segment."""
    return f"/v1/videos/{video_id}/thumbnails/{ordinal}.jpg"


@router.get("", responses=problems.responses(BadRequestError))
def list_videos(
    *,
    state: StateDep,
    _access: ReadAccess,
    session: ReadSessionDep,
    limit: Annotated[int, Query(ge=1, le=videos.MAX_PAGE)] = 50,
    cursor: Cursor | None = None,
    states: Annotated[list[VideoState], Query(alias="state", max_length=10)] = [],  # noqa: B006
    tags: Annotated[list[Tag], Query(alias="tag", max_length=20)] = [],  # noqa: B006
) -> VideoPage:
    """Return videos, newest first; those with all of the tags, in one of the states."""
    page = videos.list_videos(
        session, secret=state.cursor_key, states=states, tags=tags, limit=limit, cursor=cursor
    )
    return VideoPage(videos=[video_out(one) for one in page.videos], next_cursor=page.next_cursor)


@router.get("/{video_id}", responses=problems.responses(NotFoundError))
def read_video(video_id: UUID, _access: ReadAccess, session: ReadSessionDep) -> VideoOut:
    """Return one video."""
    return video_out(videos.read_video(session, video_id))


@router.patch("/{video_id}", responses=problems.responses(NotFoundError))
def patch_video(
    video_id: UUID, patch: MetadataPatch, state: StateDep, _access: WriteAccess
) -> VideoOut:
    """Change title, tags or free fields; what is left out stays."""
    changes = VideoPatch(title=patch.title, tags=patch.tags, fields=patch.fields)
    return video_out(videos.patch_video(state.sessions, video_id, changes))


@router.delete(
    "/{video_id}", status_code=HTTPStatus.NO_CONTENT, responses=problems.responses(NotFoundError)
)
def delete_video(video_id: UUID, state: StateDep, _access: WriteAccess) -> None:
    """Delete a video: from now on no search returns it and nothing of it can be read."""
    videos.delete_video(state.sessions, video_id)


@router.get("/{video_id}/segments", responses=problems.responses(NotFoundError))
def list_segments(video_id: UUID, _access: ReadAccess, session: ReadSessionDep) -> SegmentList:
    """Return the indexed spans of a video, in order; none before it is searchable."""
    videos.read_video(session, video_id)  # raises NotFoundError
    return SegmentList(
        segments=[
            SegmentOut(
                ordinal=segment.ordinal,
                start_s=segment.start_s,
                end_s=segment.end_s,
                thumbnail_url=thumbnail_url(video_id, segment.ordinal),
            )
            for segment in index_queries.segments_of(session, video_id)
        ]
    )


def video_out(record: VideoRecord) -> VideoOut:
    """Describe a video for clients."""
    video = record.video
    return VideoOut(
        id=video.id,
        title=video.title,
        file_name=video.file_name,
        tags=list(record.tags),
        fields=video.fields,
        state=video.state,
        reason=video.reason,
        detail=video.detail,
        percent=record.percent,
        job_id=record.job.id if record.job else None,
        duration_s=video.duration_s,
        width=video.width,
        height=video.height,
        codec=video.codec,
        container=video.container,
        frame_rate=video.frame_rate,
        num_segments=video.num_segments,
        decode_report=video.decode_report,
        size_bytes=record.size_bytes,
        sha256=video.sha256,
        created_at=video.created_at,
        updated_at=video.updated_at,
        version=video.version,
        links=_links(record),
    )


def _links(record: VideoRecord) -> VideoLinks:
    own = f"/v1/videos/{record.video.id}"
    return VideoLinks(
        self=own,
        content=f"{own}/content",
        thumbnail=thumbnail_url(record.video.id, 0) if record.video.num_segments else None,
    )
