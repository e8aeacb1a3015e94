"""POST /v1/videos/batch: several files in one request, each with an outcome of its own."""

import json
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from typing import Any

import anyio
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.access import Principal
from service.api import problems
from service.api.accepting import accept_staged
from service.api.deps import StateDep, WriteAccess
from service.api.multipart import UploadReader, boundary_of
from service.api.once import KeyHeader
from service.api.problems import Problem
from service.api.schemas import UploadOut
from service.api.state import State
from service.api.uploads import (
    FILE_SCHEMA,
    METADATA_SCHEMA,
    announced_bytes,
    check_quotas,
    receive_form,
)
from service.errors import (
    BadRequestError,
    ForbiddenError,
    InvalidInputError,
    PayloadTooLargeError,
    ServiceError,
    StorageFullError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
)
from service.idempotency import MAX_KEY, IdempotencyToken
from service.metadata import UploadMetadata, clean_file_name, parse_metadata
from service.storage import Staging

router = APIRouter(prefix="/v1/videos", tags=["videos"])

MAX_FILES = 100
BATCH_SCHEMA = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "array", "items": FILE_SCHEMA, "maxItems": MAX_FILES},
        "metadata": {
            "type": "array",
            "items": {"anyOf": [METADATA_SCHEMA, {"type": "null"}]},
        },
    },
}


class Outcome(StrEnum):
    """What became of one file."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


class BatchResult(BaseModel):
    """What became of one file of a batch."""

    file_name: str
    outcome: Outcome
    upload: UploadOut | None = Field(None, description="What a single upload answers.")
    problem: Problem | None = Field(None, description="Why it was refused.")


class BatchOut(BaseModel):
    """What became of the files of a batch, in their order."""

    results: list[BatchResult]


class IncomingBatch:
    """The files of one request on their way, all staged until the last one is complete.

    Args:
        state: what routes share.
        limit_bytes: of all files together.
    """

    def __init__(self, state: State, *, limit_bytes: int) -> None:
        self._state = state
        self._limit_bytes = limit_bytes
        self._num_bytes = 0
        self.files: list[tuple[str, Staging]] = []

    def begin_file(self, name: str) -> None:
        """Begin the next file.

        Raises:
            PayloadTooLargeError: there are too many.
        """
        if len(self.files) == MAX_FILES:
            raise PayloadTooLargeError(
                f"A batch has at most {MAX_FILES} files. Send the others in another one.",
                reason="too_many_files",
            )
        self.files.append((name, self._state.storage.open_staging()))

    def write(self, data: bytes) -> None:
        """Append to the newest file.

        Raises:
            PayloadTooLargeError: all of them together are too large.
        """
        self._num_bytes += len(data)
        if self._num_bytes > self._limit_bytes:
            raise PayloadTooLargeError(
                f"The files of a batch have at most {self._limit_bytes} bytes together."
            )
        self.files[-1][1].write(data)
        self._state.metrics.upload_bytes.inc(len(data))

    def abort(self) -> None:
        """Remove what was not accepted."""
        for _name, staging in self.files:
            staging.abort()


@router.post(
    "/batch",
    responses=problems.responses(
        BadRequestError,
        UnauthenticatedError,
        ForbiddenError,
        HTTPStatus.REQUEST_TIMEOUT,
        PayloadTooLargeError,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        InvalidInputError,
        TooManyRequestsError,
        UnavailableError,
        StorageFullError,
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": BATCH_SCHEMA}},
        }
    },
)
async def upload_batch(
    request: Request, state: StateDep, principal: WriteAccess, idempotency_key: KeyHeader = None
) -> BatchOut:
    """Upload several videos: fields `file`, and optionally `metadata`, a JSON list in their order.

    Each file is accepted or refused by itself; `results` says which, in order.
    """
    boundary = boundary_of(request.headers.get("content-type"))
    announced = announced_bytes(request, state.settings.upload_limit_bytes)
    await anyio.to_thread.run_sync(check_quotas, state, principal, announced)
    await anyio.to_thread.run_sync(state.storage.check_space, announced or 1)
    batch = IncomingBatch(state, limit_bytes=state.settings.upload_limit_bytes)
    reader = UploadReader(boundary, batch.write, begin_file=batch.begin_file)
    results = []
    with state.metrics.uploads_open.track_inprogress():
        try:
            form = await receive_form(request, reader, state)
            said = _split_metadata(form.metadata, len(batch.files))
            for number, (name, staging) in enumerate(batch.files):
                accept = partial(
                    accept_one,
                    state,
                    staging,
                    file_name=name,
                    said=said[number],
                    owner=principal.key_id,
                    idempotency=_token_of(principal, idempotency_key, number),
                )
                results.append(await _outcome_of(state, name, accept))
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(batch.abort)
    return BatchOut(results=results)


def accept_one(state: State, staging: Staging, *, said: str | None, **options: Any) -> UploadOut:
    """Accept one file; raise ServiceError if it, or what is said of it, cannot be taken."""
    metadata = parse_metadata(said) if said else UploadMetadata()
    return accept_staged(state, staging, metadata=metadata, **options)


async def _outcome_of(state: State, name: str, accept: Callable[[], UploadOut]) -> BatchResult:
    shown = clean_file_name(name)
    try:
        upload = await state.uploads.run(accept)
    except ServiceError as error:
        problem = problems.problem_of(error)
        return BatchResult(file_name=shown, outcome=Outcome.REFUSED, problem=problem)
    outcome = Outcome.DUPLICATE if upload.is_duplicate else Outcome.ACCEPTED
    return BatchResult(file_name=shown, outcome=outcome, upload=upload)


def _split_metadata(text: str, num_files: int) -> list[str | None]:
    """Return the metadata of each file as JSON, None where nothing is said of it.

    Raises:
        InvalidInputError: it is no list, or longer than the files.
    """
    if not text.strip():
        return [None] * num_files
    try:
        said: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("The metadata is not JSON.") from error
    if not isinstance(said, list) or len(said) > num_files:
        raise InvalidInputError(
            "The metadata of a batch is a JSON list with one entry for each file, in order."
        )
    entries = [None if one is None else json.dumps(one) for one in said]
    return entries + [None] * (num_files - len(entries))


def _token_of(principal: Principal, key: str | None, number: int) -> IdempotencyToken | None:
    """Return what makes a repetition of one file known: a batch that was cut off goes on."""
    if key is None:
        return None
    suffix = f" file {number}"
    if len(key) + len(suffix) > MAX_KEY:
        raise InvalidInputError(
            f"The Idempotency-Key of a batch has at most {MAX_KEY - len(suffix)} characters."
        )
    return IdempotencyToken(owner=principal.key_id, key=key + suffix)
