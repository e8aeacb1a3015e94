"""Captions: add, list, delete, and files of them in and out."""

import tempfile
from http import HTTPStatus
from typing import Annotated, BinaryIO
from uuid import UUID

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from service.access import Principal
from service.api import problems
from service.api.caption_schemas import (
    CaptionIn,
    CaptionOut,
    CaptionPage,
    ImportOut,
    SkippedLine,
)
from service.api.deps import ReadAccess, ReadSessionDep, StateDep, WriteAccess
from service.api.once import ONCE
from service.api.schemas import Cursor
from service.api.uploads import received_chunks
from service.captions import writing
from service.captions.exporting import export_captions
from service.captions.importing import Imported, OnError, import_captions
from service.captions.lines import CaptionFormat
from service.captions.writing import MAX_PAGE, NewCaption
from service.catalog.caption_tables import Caption
from service.durable import full_disk_is_said
from service.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    PayloadTooLargeError,
    StorageFullError,
    UnauthenticatedError,
    UnavailableError,
)

router = APIRouter(
    prefix="/v1",
    tags=["captions"],
    responses=problems.responses(
        UnauthenticatedError, ForbiddenError, NotFoundError, InvalidInputError
    ),
)

MEDIA_TYPES = {
    CaptionFormat.CSV: "text/csv",
    CaptionFormat.JSONL: "application/jsonl",
    CaptionFormat.VTT: "text/vtt",
    CaptionFormat.SRT: "application/x-subrip",
}
ANY_FILE = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
IMPORT_LIMIT_BYTES = 100 * 1024 * 1024
Format = Annotated[CaptionFormat, Query(alias="format")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


@router.post(
    "/videos/{video_id}/captions",
    status_code=HTTPStatus.CREATED,
    dependencies=[ONCE],
    responses={200: {"model": CaptionOut, "description": "The same caption is here already."}},
)
def add_caption(
    video_id: UUID, body: CaptionIn, response: Response, state: StateDep, principal: WriteAccess
) -> CaptionOut:
    """Say what happens in a video or a span of it; tunings learn from it.

    The same words about the same span are kept once: the answer is 200 then.
    """
    new = NewCaption(video_id=video_id, text=body.text, start_s=body.start_s, end_s=body.end_s)
    caption, is_new = writing.add_caption(state.sessions, new, created_by=key_of(principal))
    response.headers["Location"] = f"/v1/captions/{caption.id}"
    if not is_new:
        response.status_code = HTTPStatus.OK
    return _caption_out(caption)


@router.get("/videos/{video_id}/captions", responses=problems.responses(BadRequestError))
def list_captions_of_video(
    *,
    video_id: UUID,
    state: StateDep,
    _access: ReadAccess,
    session: ReadSessionDep,
    limit: Limit = 50,
    cursor: Cursor | None = None,
) -> CaptionPage:
    """Return the captions of a video, newest first."""
    page = writing.list_captions(
        session, secret=state.cursor_key, video_id=video_id, limit=limit, cursor=cursor
    )
    return _page_out(page)


@router.get("/captions", responses=problems.responses(BadRequestError))
def list_captions(
    *,
    state: StateDep,
    _access: ReadAccess,
    session: ReadSessionDep,
    video_id: UUID | None = None,
    limit: Limit = 50,
    cursor: Cursor | None = None,
) -> CaptionPage:
    """Return captions, newest first."""
    page = writing.list_captions(
        session, secret=state.cursor_key, video_id=video_id, limit=limit, cursor=cursor
    )
    return _page_out(page)


@router.get(
    "/captions/export",
    response_class=Response,
    responses={
        200: {
            "description": "The file.",
            "content": {kind: {"schema": {"type": "string"}} for kind in MEDIA_TYPES.values()},
        },
        **problems.responses(ConflictError),
    },
)
def export_file(
    state: StateDep, _access: ReadAccess, form: Format, video_id: UUID | None = None
) -> StreamingResponse:
    """Return captions as a file; importing it again changes nothing.

    WebVTT and SubRip need `video_id`.
    """
    return StreamingResponse(
        export_captions(state.reads, form, video_id=video_id),
        media_type=MEDIA_TYPES[form],
        headers={"Content-Disposition": f'attachment; filename="captions.{form}"'},
    )


@router.post(
    "/captions/import",
    responses=problems.responses(
        HTTPStatus.REQUEST_TIMEOUT, PayloadTooLargeError, UnavailableError, StorageFullError
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": dict.fromkeys(MEDIA_TYPES.values(), ANY_FILE),
        }
    },
)
async def import_file(
    *,
    request: Request,
    state: StateDep,
    principal: WriteAccess,
    form: Format,
    video_id: UUID | None = None,
    on_error: OnError = OnError.REFUSE,
) -> ImportOut:
    """Take in a file of captions: the body.

    CSV and JSON Lines name the video in each line, by id, file name, title or SHA-256; WebVTT and
    SubRip need `video_id`. If a line is wrong nothing is taken, unless `on_error=skip`.
    """

    def take(file: BinaryIO) -> Imported:
        return import_captions(
            state.sessions,
            file,
            form,
            video_id=video_id,
            on_error=on_error,
            created_by=key_of(principal),
        )

    await anyio.to_thread.run_sync(state.storage.check_space, IMPORT_LIMIT_BYTES)
    with tempfile.TemporaryFile(dir=state.storage.staging) as file:
        async for chunk in received_chunks(request, state.settings.upload_idle_s):
            with full_disk_is_said():
                await anyio.to_thread.run_sync(file.write, chunk)
        done = await state.uploads.run(lambda: take(file))
    return ImportOut(
        imported=done.num_imported,
        unchanged=done.num_unchanged,
        num_skipped=done.num_skipped,
        skipped=[
            SkippedLine(line=bad.line, reason=problems.printable(bad.reason))
            for bad in done.skipped
        ],
    )


@router.delete("/captions/{caption_id}", status_code=HTTPStatus.NO_CONTENT)
def delete_caption(caption_id: UUID, state: StateDep, _access: WriteAccess) -> None:
    """Delete a caption: no tuning that starts from now on learns from it."""
    writing.delete_caption(state.sessions, caption_id)


def key_of(principal: Principal) -> UUID | None:
    """Return the API key of who asks; None for the key of the settings and for browsers."""
    try:
        return UUID(principal.key_id)
    except ValueError:
        return None


def _caption_out(caption: Caption) -> CaptionOut:
    return CaptionOut.model_validate(caption, from_attributes=True)


def _page_out(page: writing.CaptionPage) -> CaptionPage:
    return CaptionPage(
        captions=[_caption_out(one) for one in page.captions], next_cursor=page.next_cursor
    )
