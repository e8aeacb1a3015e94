"""The bytes of a video and of its pictures: private, never executable, gone when deleted."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Path, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from service import videos
from service.api import caching, problems
from service.api.deps import MediaAccess, ReadSessionDep, StateDep
from service.catalog import index_queries
from service.catalog.video_queries import VideoRecord
from service.errors import (
    ForbiddenError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from service.storage import Storage

router = APIRouter(
    prefix="/v1/videos/{video_id}",
    tags=["media"],
    responses=problems.responses(UnauthenticatedError, ForbiddenError, NotFoundError),
)

MEDIA_TYPES = {
    "mp4": "video/mp4",
    "matroska": "video/webm",
    "avi": "video/x-msvideo",
    "mpegts": "video/mp2t",
    "mpeg": "video/mpeg",
    "ogg": "video/ogg",
    "flv": "video/x-flv",
    "asf": "video/x-ms-asf",
}
"""By probed container, never by file name; anything else is bytes that a browser only saves."""
UNKNOWN_TYPE = "application/octet-stream"
HEADERS = {
    # whatever a browser makes of an uploaded file, it is no page of ours and runs nothing
    "Content-Security-Policy": "sandbox; default-src 'none'; media-src 'self'; style-src "
    "'unsafe-inline'",
    "Cache-Control": "private, no-cache",
    "Vary": "Authorization, Cookie",
}
MAX_ORDINAL = 2**31 - 1


@router.get(
    "/content",
    response_class=StreamingResponse,
    responses={
        HTTPStatus.TEMPORARY_REDIRECT.value: {"description": "The file is at the object store."},
        **problems.responses(UnavailableError),
    },
)
@router.head("/content", include_in_schema=False)
def read_content(
    video_id: UUID,
    request: Request,
    state: StateDep,
    _access: MediaAccess,
    session: ReadSessionDep,
) -> Response:
    """Return the file as it was uploaded; Range and If-Range work."""
    record = videos.read_video(session, video_id)
    video = record.video
    etag = f'"{video.sha256}"'
    unchanged = caching.not_modified(request, etag, HEADERS)
    if unchanged:
        return unchanged
    # what a signed address allows is GET alone, so other methods are answered here
    ttl_s = state.settings.media_link_ttl_s
    if request.method == "GET" and (url := state.storage.blob_url(video.sha256, ttl_s=ttl_s)):
        # whoever knows the address may read: no one but the caller should keep it
        headers = {**HEADERS, "Cache-Control": "private, no-store"}
        return RedirectResponse(url, HTTPStatus.TEMPORARY_REDIRECT, headers)
    headers = {
        **HEADERS,
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": disposition(video.file_name),
    }
    part = caching.wanted_range(request, record.size_bytes, etag)
    start, stop = part or (0, record.size_bytes)
    headers["Content-Length"] = str(stop - start)
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{record.size_bytes}"
    is_head = request.method == "HEAD"
    if is_head and state.storage.blob_size(video.sha256) is None:
        raise _missing(record)
    return StreamingResponse(
        () if is_head else _open_part(state.storage, record, start, stop),
        HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK,
        headers,
        media_type=MEDIA_TYPES.get(video.container or "", UNKNOWN_TYPE),
    )


@router.get(
    "/thumbnails/{ordinal}.jpg",
    response_class=Response,
    responses=problems.responses(UnavailableError),
)
@router.head("/thumbnails/{ordinal}.jpg", include_in_schema=False)
def read_segment_thumbnail(
    video_id: UUID,
    ordinal: Annotated[int, Path(ge=0, le=MAX_ORDINAL)],
    request: Request,
    state: StateDep,
    _access: MediaAccess,
    session: ReadSessionDep,
) -> Response:
    """Return the picture of a segment, or of the next one that could be decoded, as JPEG."""
    segment = index_queries.segment_from(session, video_id, ordinal)
    if segment is None:
        raise NotFoundError(f"Video {video_id} has no picture {ordinal}.")
    attempt = segment.derived.rsplit("/", 1)[-1]
    etag = f'"{attempt}-{segment.ordinal}"'
    unchanged = caching.not_modified(request, etag, HEADERS)
    if unchanged:
        return unchanged
    picture = state.storage.read_thumbnail(
        segment.derived, segment.thumbnail_offset, segment.thumbnail_bytes
    )
    return Response(picture, media_type="image/jpeg", headers={**HEADERS, "ETag": etag})


def _open_part(storage: Storage, record: VideoRecord, start: int, stop: int) -> Iterator[bytes]:
    try:
        return storage.open_blob_range(record.video.sha256, start, stop)
    except FileNotFoundError as error:
        raise _missing(record) from error


def _missing(record: VideoRecord) -> NotFoundError:
    return NotFoundError(
        f"The file of video {record.video.id} is missing from the storage. Upload it again, or "
        "ask the admin: `reelseek audit` names what is missing.",
        reason="file_missing",
    )


def disposition(file_name: str) -> str:
    """Name the file for whoever saves it (RFC 6266): a plain name, and the real one beside it."""
    plain = "".join(
        char if char.isascii() and (char.isalnum() or char in " .-_()") else "_"
        for char in file_name
    )
    return f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"
