"""POST /v1/videos: receive a file as it comes, look what it is, and queue its ingest."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

import anyio
from fastapi import APIRouter, Request, Response

from service.access import Principal
from service.api import problems
from service.api.accepting import accept_staged
from service.api.deps import StateDep, WriteAccess
from service.api.multipart import METADATA_LIMIT_BYTES, UploadForm, UploadReader, boundary_of
from service.api.once import KeyHeader
from service.api.schemas import UploadOut
from service.api.state import State
from service.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    PayloadTooLargeError,
    RefusedMediaError,
    StorageFullError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
)
from service.idempotency import IdempotencyToken
from service.metadata import parse_metadata

router = APIRouter(prefix="/v1/videos", tags=["videos"])

FLUSH_BYTES = 64 * 1024
"""What is held of each upload in memory: hundreds come at once, and slow ones hold it for long."""
OVERHEAD_BYTES = METADATA_LIMIT_BYTES + 16 * 1024
"""What a multipart body may hold beside the file."""
FILE_SCHEMA = {"type": "string", "contentMediaType": "application/octet-stream"}
METADATA_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "title": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "fields": {"type": "object", "additionalProperties": True},
    },
}
FORM_SCHEMA = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": FILE_SCHEMA, "metadata": METADATA_SCHEMA},
}


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        200: {"model": UploadOut, "description": "The same content is here already."},
        **problems.responses(
            BadRequestError,
            UnauthenticatedError,
            ForbiddenError,
            NotFoundError,
            HTTPStatus.REQUEST_TIMEOUT,
            ConflictError,
            PayloadTooLargeError,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            RefusedMediaError,
            TooManyRequestsError,
            UnavailableError,
            StorageFullError,
        ),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": FORM_SCHEMA}},
        }
    },
)
async def upload_video(
    request: Request,
    response: Response,
    state: StateDep,
    principal: WriteAccess,
    idempotency_key: KeyHeader = None,
) -> UploadOut:
    """Upload one video: the field `file`, and optionally `metadata` as JSON.

    The answer comes when the file is stored and known to be a video; the job in `Location` makes
    it searchable. Sending the same content again answers 200 with the video that is there.
    """
    idempotency = None
    if idempotency_key is not None:
        idempotency = IdempotencyToken(owner=principal.key_id, key=idempotency_key)
    boundary = boundary_of(request.headers.get("content-type"))
    announced = announced_bytes(request, state.settings.upload_limit_bytes)
    await anyio.to_thread.run_sync(check_quotas, state, principal, announced)
    staging = await anyio.to_thread.run_sync(state.storage.open_staging, announced)

    def write(data: bytes) -> None:
        staging.write(data)
        state.metrics.upload_bytes.inc(len(data))

    def accept(form: UploadForm) -> UploadOut:
        return accept_staged(
            state,
            staging,
            file_name=form.file_name,
            metadata=parse_metadata(form.metadata),
            owner=principal.key_id,
            idempotency=idempotency,
        )

    with state.metrics.uploads_open.track_inprogress():
        try:
            reader = UploadReader(boundary, write)
            form = await receive_form(request, reader, state)
            accepted = await state.uploads.run(lambda: accept(form))
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(staging.abort)
    response.headers["Location"] = accepted.links.job
    if accepted.is_duplicate:
        response.status_code = HTTPStatus.OK
    return accepted


async def receive_form(request: Request, reader: UploadReader, state: State) -> UploadForm:
    """Read a body to its end, holding little of it at a time."""

    async def write(data: bytes) -> None:
        await anyio.to_thread.run_sync(reader.feed, data, limiter=state.receiving)

    waiting = bytearray()
    async for chunk in received_chunks(request, state.settings.upload_idle_s):
        waiting += chunk
        if len(waiting) >= FLUSH_BYTES:
            await write(bytes(waiting))
            waiting.clear()
    await write(bytes(waiting))
    return reader.finish()


def check_quotas(state: State, principal: Principal, announced_bytes: int | None) -> None:
    """Refuse an upload that a quota does not allow, before its body is read.

    Raises:
        TooManyRequestsError: its sender has uploaded enough today.
        StorageFullError: as much is kept as may be.
    """
    with state.reads() as session:
        state.quotas.check_upload(session, principal.key_id, announced_bytes)


async def received_chunks(request: Request, idle_s: float) -> AsyncIterator[bytes]:
    """Yield the body as it comes; a client that falls silent is let go."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(idle_s):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise problems.HttpProblemError(
                HTTPStatus.REQUEST_TIMEOUT,
                f"Nothing came for {idle_s:g} seconds, so the upload was ended.",
                headers={"Connection": "close"},
            ) from None
        yield chunk


def announced_bytes(request: Request, limit_bytes: int) -> int | None:
    """Return the size that the request announces, as far as it could be the file's."""
    announced = request.headers.get("content-length", "")
    if not announced.isascii() or not announced.isdigit():
        return None
    num_bytes = int(announced)
    return num_bytes if num_bytes > limit_bytes + OVERHEAD_BYTES else min(num_bytes, limit_bytes)
