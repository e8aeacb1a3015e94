"""What the routes of uploads in pieces take and answer."""

from datetime import datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from service.api import problems
from service.api.tus_middleware import PATH
from service.catalog.upload_tables import ResumableUpload, UploadState
from service.errors import (
    BadRequestError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PayloadTooLargeError,
    StorageFullError,
    TooManyRequestsError,
    UnavailableError,
)

BODY_TYPE = "application/offset+octet-stream"
CHECKSUM_MISMATCH = 460
MISMATCH: dict[int | str, dict[str, Any]] = {
    CHECKSUM_MISMATCH: {
        "description": "The bytes are not those of Upload-Checksum; none was kept.",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
BODY = {
    "requestBody": {
        "content": {
            BODY_TYPE: {
                "schema": {"type": "string", "contentMediaType": "application/octet-stream"}
            }
        }
    }
}
RECEIVING = problems.responses(
    BadRequestError,
    NotFoundError,
    HTTPStatus.REQUEST_TIMEOUT,
    ConflictError,
    HTTPStatus.PRECONDITION_FAILED,
    PayloadTooLargeError,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    InvalidInputError,
    TooManyRequestsError,
    UnavailableError,
    StorageFullError,
)


class ResumableLinks(BaseModel):
    """Where to go on from an upload in pieces."""

    self: str
    video: str | None
    job: str | None


class ResumableOut(BaseModel):
    """How far an upload in pieces is, and what became of it."""

    id: UUID
    state: UploadState
    length: int = Field(description="Bytes of the whole file.")
    offset: int = Field(description="Bytes that are here for good.")
    file_name: str | None
    video_id: UUID | None
    job_id: UUID | None
    reason: str | None = Field(description="Why it was refused.")
    detail: str | None
    created_at: datetime
    expires_at: datetime
    links: ResumableLinks


def describe_upload(upload: ResumableUpload) -> ResumableOut:
    """Return what is told of an upload."""
    return ResumableOut(
        id=upload.id,
        state=upload.state,
        length=upload.length,
        offset=upload.offset,
        file_name=upload.file_name,
        video_id=upload.video_id,
        job_id=upload.job_id,
        reason=upload.reason,
        detail=upload.detail,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
        links=ResumableLinks(
            self=f"{PATH}/{upload.id}",
            video=f"/v1/videos/{upload.video_id}" if upload.video_id else None,
            job=f"/v1/jobs/{upload.job_id}" if upload.job_id else None,
        ),
    )
