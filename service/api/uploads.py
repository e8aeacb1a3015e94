"""POST /v1/videos: receive a file as it comes, look what it is, and queue its ingest."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import anyio
from fastapi import APIRouter, Request, Response

from service import footage, uploads, videos
from service.access import Principal
from service.api import problems
from service.api.deps import StateDep, WriteAccess
from service.api.multipart import METADATA_LIMIT_BYTES, UploadForm, UploadReader, boundary_of
from service.api.once import KeyHeader
from service.api.schemas import UploadLinks, UploadOut
from service.api.state import State
from service.catalog.ingest_queries import MediaFacts
from service.catalog.tables import VideoState
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
from service.storage import Staging
from service.uploads import Accepted

router = APIRouter(prefix="/v1/videos", tags=["videos"])

FLUSH_BYTES = 1024 * 1024
OVERHEAD_BYTES = METADATA_LIMIT_BYTES + 16 * 1024
"""What a multipart body may hold beside the file."""
FORM_SCHEMA = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "title": {"type": "string"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "fields": {"type": "object", "additionalProperties": True},
            },
        },
    },
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
    announced = _announced_bytes(request, state.settings.upload_limit_bytes)
    await anyio.to_thread.run_sync(check_quotas, state, principal, announced)
    staging = await anyio.to_thread.run_sync(state.storage.open_staging, announced)
    upload = IncomingUpload(state, staging, owner=principal.key_id, idempotency=idempotency)
    with state.metrics.uploads_open.track_inprogress():
        try:
            form = await upload.receive(request, boundary)
            accepted = await state.uploads.run(lambda: upload.accept(form))
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(staging.abort)
    response.headers["Location"] = accepted.links.job
    if accepted.is_duplicate:
        response.status_code = HTTPStatus.OK
    return accepted


class IncomingUpload:
    """One upload on its way; `receive` runs on the event loop, the rest in worker threads."""

    def __init__(
        self,
        state: State,
        staging: Staging,
        *,
        owner: str,
        idempotency: IdempotencyToken | None,
    ) -> None:
        self._state = state
        self._owner = owner
        self._staging = staging
        self._idempotency = idempotency

    async def receive(self, request: Request, boundary: bytes) -> UploadForm:
        """Read the body to its end, holding about one MiB of it at a time."""
        reader = UploadReader(boundary, self._write)
        waiting = bytearray()
        async for chunk in received_chunks(request, self._state.settings.upload_idle_s):
            waiting += chunk
            if len(waiting) >= FLUSH_BYTES:
                await anyio.to_thread.run_sync(reader.feed, bytes(waiting))
                waiting.clear()
        await anyio.to_thread.run_sync(reader.feed, bytes(waiting))
        return reader.finish()

    def _write(self, data: bytes) -> None:
        self._staging.write(data)
        self._state.metrics.upload_bytes.inc(len(data))

    def accept(self, form: UploadForm) -> UploadOut:
        """Check what came, and hand it to the use case."""
        metadata = parse_metadata(form.metadata)
        if self._staging.size_bytes == 0:
            raise RefusedMediaError("The file is empty.", reason="empty_file")
        staged = self._staging.finish()
        try:
            facts = probe_measured(self._state, staged.path)
            accepted = uploads.accept(
                uploads.Upload(
                    staged=staged, file_name=form.file_name, metadata=metadata, facts=facts
                ),
                sessions=self._state.sessions,
                storage=self._state.storage,
                sender=self._state.sender,
                idempotency=self._idempotency,
                owner=self._owner,
                quotas=self._state.quotas,
            )
        finally:
            staged.discard()
        return self._describe(accepted)

    def _describe(self, accepted: Accepted) -> UploadOut:
        try:
            with self._state.reads() as session:
                state = videos.read_video(session, accepted.video_id).video.state
        except NotFoundError:  # deleted since: by another client, or before this repetition
            state = VideoState.DELETED
        return UploadOut(
            id=accepted.video_id,
            job_id=accepted.job_id,
            is_duplicate=accepted.is_duplicate,
            state=state,
            links=UploadLinks(
                self=f"/v1/videos/{accepted.video_id}",
                job=f"/v1/jobs/{accepted.job_id}",
                events=f"/v1/jobs/{accepted.job_id}/events",
            ),
        )


def probe_measured(state: State, path: Path) -> MediaFacts:
    """Look what a received file is; the figures tell how long that took, and why it was refused.

    Raises:
        RefusedMediaError: it is no video that can be read.
    """
    with state.metrics.probes.time():
        try:
            return footage.probe_upload(path, state.settings)
        except RefusedMediaError as error:
            state.metrics.count_refused(error.reason)
            raise


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


def _announced_bytes(request: Request, limit_bytes: int) -> int | None:
    """Return the size that the request announces, as far as it could be the file's."""
    announced = request.headers.get("content-length", "")
    if not announced.isascii() or not announced.isdigit():
        return None
    num_bytes = int(announced)
    return num_bytes if num_bytes > limit_bytes + OVERHEAD_BYTES else min(num_bytes, limit_bytes)
