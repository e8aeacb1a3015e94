"""/v1/uploads: uploads that go on after a break, by the protocol tus 1.0 (https://tus.io)."""

from functools import partial
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import anyio
from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.responses import JSONResponse

from service import resumable
from service.access import Principal, Scope
from service.api import problems
from service.api.accepting import probe_measured
from service.api.deps import StateDep, WriteAccess
from service.api.once import OnceDep, asked_by
from service.api.problems import HttpProblemError, Problem
from service.api.state import State
from service.api.tus_headers import (
    EXTENSIONS,
    MAX_METADATA,
    VERSION,
    Checksum,
    http_date,
    parse_upload_metadata,
)
from service.api.tus_middleware import PATH
from service.api.tus_receiving import ChecksumMismatchError, PieceReceiver
from service.api.tus_schemas import (
    BODY,
    BODY_TYPE,
    CHECKSUM_MISMATCH,
    MISMATCH,
    RECEIVING,
    ResumableOut,
    describe_upload,
)
from service.catalog.upload_tables import ResumableUpload, UploadState
from service.errors import (
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    PayloadTooLargeError,
    UnauthenticatedError,
    UnavailableError,
)
from service.resumable import NewUpload, Resumables

MAX_LENGTH = 2**62


async def check_version(
    _access: WriteAccess,
    tus_resumable: Annotated[str | None, Header(max_length=20, description="`1.0.0`")] = None,
) -> None:
    """Refuse a client that speaks another version.

    Raises:
        HttpProblemError: 412, with the versions that we speak.
    """
    if tus_resumable != VERSION:
        raise HttpProblemError(
            HTTPStatus.PRECONDITION_FAILED,
            f"Send the header Tus-Resumable: {VERSION}.",
            reason="tus_version",
            headers={"Tus-Version": VERSION},
        )


SPEAKS_TUS = Depends(check_version)
ChecksumHeader = Annotated[str | None, Header(alias="Upload-Checksum", max_length=200)]
ContentType = Annotated[str | None, Header(max_length=200, include_in_schema=False)]

router = APIRouter(
    prefix=PATH,
    tags=["uploads"],
    responses=problems.responses(UnauthenticatedError, ForbiddenError),
)


@router.options("", include_in_schema=False)
@router.options("/{upload_id}", include_in_schema=False)
async def read_abilities(state: StateDep) -> Response:
    """Say what of tus is spoken here."""
    return Response(
        status_code=HTTPStatus.NO_CONTENT,
        headers={
            "Tus-Version": VERSION,
            "Tus-Extension": EXTENSIONS,
            "Tus-Max-Size": str(state.settings.upload_limit_bytes),
            "Tus-Checksum-Algorithm": "sha1,sha256,crc32",
        },
    )


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    dependencies=[SPEAKS_TUS],
    response_model=ResumableOut,
    responses={**RECEIVING, **MISMATCH},
    openapi_extra=BODY,
)
async def create_upload(
    *,
    request: Request,
    state: StateDep,
    principal: WriteAccess,
    once: OnceDep,
    upload_length: Annotated[int, Header(ge=0, le=MAX_LENGTH, description="Bytes of the file.")],
    upload_metadata: Annotated[str | None, Header(max_length=MAX_METADATA)] = None,
    upload_checksum: ChecksumHeader = None,
    content_type: ContentType = None,
) -> Response:
    """Begin an upload; `Location` names it. The body may be its first bytes already.

    `Upload-Metadata` may have `filename`, `title`, `tags` (with commas between), `fields` (JSON).
    """
    checksum = None if upload_checksum is None else Checksum(upload_checksum)
    file_name, metadata = parse_upload_metadata(upload_metadata)
    said = f"{upload_length} {upload_metadata or ''}"
    await once.begin(*asked_by(request), said.encode(errors="replace"))
    resumables = resumables_of(state)
    new = NewUpload(
        owner=principal.key_id,
        length=upload_length,
        file_name=file_name,
        metadata=metadata,
        header=upload_metadata,
    )
    upload = await anyio.to_thread.run_sync(resumables.create, new)
    if content_type == BODY_TYPE:
        try:
            upload = await _receive(request, state, upload, checksum)
        except ChecksumMismatchError:
            return _mismatch(request)
    headers = {**_headers_of(upload), "Location": f"{PATH}/{upload.id}"}
    return JSONResponse(
        describe_upload(upload).model_dump(mode="json"), HTTPStatus.CREATED, headers
    )


@router.head(
    "/{upload_id}", dependencies=[SPEAKS_TUS], response_class=Response, responses=RECEIVING
)
async def read_offset(upload_id: UUID, state: StateDep, principal: WriteAccess) -> Response:
    """Say where the upload goes on: `Upload-Offset`.

    One that is complete, but whose last request broke off, is accepted now.
    """
    upload = await anyio.to_thread.run_sync(_find, state, principal, upload_id)
    if upload.state is UploadState.OPEN and upload.offset == upload.length:
        upload = await state.uploads.run(lambda: resumables_of(state).finish(upload_id))
    headers = {**_headers_of(upload), "Upload-Length": str(upload.length)}
    if said := upload.request["header"]:
        headers["Upload-Metadata"] = said
    return Response(headers=headers)


@router.get("/{upload_id}", responses=problems.responses(NotFoundError, InvalidInputError))
def read_upload(upload_id: UUID, state: StateDep, principal: WriteAccess) -> ResumableOut:
    """Return how far an upload is, and what became of it."""
    return describe_upload(_find(state, principal, upload_id))


@router.patch(
    "/{upload_id}",
    status_code=HTTPStatus.NO_CONTENT,
    dependencies=[SPEAKS_TUS],
    response_class=Response,
    responses={**RECEIVING, **MISMATCH},
    openapi_extra=BODY,
)
async def append_bytes(
    *,
    request: Request,
    upload_id: UUID,
    state: StateDep,
    principal: WriteAccess,
    upload_offset: Annotated[int, Header(ge=0, le=MAX_LENGTH, description="Where they belong.")],
    upload_checksum: ChecksumHeader = None,
    content_type: ContentType = None,
) -> Response:
    """Append bytes. What came before a break is kept; HEAD says how much that is.

    The answer to the last of them names the video and its job: `Reelseek-Video`, `Reelseek-Job`.
    """
    if content_type != BODY_TYPE:
        raise HttpProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Send the bytes as {BODY_TYPE}.",
            headers={"Accept": BODY_TYPE},
        )
    checksum = None if upload_checksum is None else Checksum(upload_checksum)
    upload = await anyio.to_thread.run_sync(_find, state, principal, upload_id)
    resumable.check_offset(upload, upload_offset)
    _check_announced(request, upload)
    try:
        upload = await _receive(request, state, upload, checksum)
    except ChecksumMismatchError:
        return _mismatch(request)
    return Response(status_code=HTTPStatus.NO_CONTENT, headers=_headers_of(upload))


@router.delete(
    "/{upload_id}",
    status_code=HTTPStatus.NO_CONTENT,
    dependencies=[SPEAKS_TUS],
    responses=problems.responses(
        NotFoundError, HTTPStatus.PRECONDITION_FAILED, InvalidInputError, UnavailableError
    ),
)
def terminate_upload(upload_id: UUID, state: StateDep, principal: WriteAccess) -> None:
    """Forget an upload and what came of it; a video that was made of it stays."""
    upload = _find(state, principal, upload_id)
    resumables_of(state).terminate(upload.id)


async def _receive(
    request: Request, state: State, upload: ResumableUpload, checksum: Checksum | None
) -> ResumableUpload:
    """Take the body, and accept the upload if it is complete then."""
    resumables = resumables_of(state)
    with state.metrics.uploads_open.track_inprogress():
        upload = await PieceReceiver(state, resumables, upload, checksum).receive(request)
        if upload.offset == upload.length:
            upload = await state.uploads.run(lambda: resumables.finish(upload.id))
    return upload


def resumables_of(state: State) -> Resumables:
    """Return the uploads in pieces of this installation."""
    return Resumables(
        sessions=state.sessions,
        storage=state.storage,
        sender=state.sender,
        quotas=state.quotas,
        probe=partial(probe_measured, state),
        keep_s=state.settings.upload_expires_s,
    )


def _find(state: State, principal: Principal, upload_id: UUID) -> ResumableUpload:
    owner = None if principal.may(Scope.ADMIN) else principal.key_id
    return resumables_of(state).read(upload_id, owner=owner)


def _check_announced(request: Request, upload: ResumableUpload) -> None:
    """Refuse a body that is too large before it is read."""
    announced = request.headers.get("content-length", "")
    rest = upload.length - upload.offset
    if announced.isascii() and announced.isdigit() and int(announced) > rest:
        raise PayloadTooLargeError(f"Only {rest} bytes of this upload are missing.")


def _headers_of(upload: ResumableUpload) -> dict[str, str]:
    headers = {"Upload-Offset": str(upload.offset), "Upload-Expires": http_date(upload.expires_at)}
    if upload.video_id is not None:
        headers["Reelseek-Video"] = f"/v1/videos/{upload.video_id}"
        headers["Reelseek-Job"] = f"/v1/jobs/{upload.job_id}"
    return headers


def _mismatch(request: Request) -> Response:
    reason = "checksum_mismatch"
    problem = Problem(
        type=f"/problems/{reason}",
        title="Checksum Mismatch",
        status=CHECKSUM_MISMATCH,
        detail="The bytes are not those that Upload-Checksum names. Send them again.",
        reason=reason,
        request_id=request.state.request_id,
    )
    content = problem.model_dump(exclude_none=True)
    return JSONResponse(content, CHECKSUM_MISMATCH, media_type=problems.MEDIA_TYPE)
