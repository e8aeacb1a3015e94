"""Accepting a video: what an upload that was answered with 202 leaves behind, in one commit."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from service.catalog.blob_queries import make_blob_live
from service.catalog.generation_queries import active_generation
from service.catalog.ingest_queries import MediaFacts, set_facts
from service.catalog.job_queries import add_ingest_jobs
from service.catalog.session import Sessions, in_transaction
from service.catalog.tables import IdempotencyKey, Job, Video, VideoState
from service.catalog.upload_queries import lock_live_by_content
from service.catalog.video_queries import latest_jobs, replace_tags
from service.idempotency import IdempotencyToken, reused
from service.jobs import JobSender, Task
from service.metadata import UploadMetadata, clean_file_name, title_of
from service.quotas import UNLIMITED, Quotas
from service.storage import StagedFile, Storage


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The answer to an upload.

    Attributes:
        video_id: the video.
        job_id: its latest ingest job.
        is_duplicate: the same content was there already; this is that video.
    """

    video_id: UUID
    job_id: UUID
    is_duplicate: bool


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file that was received and probed.

    Attributes:
        staged: the file; durable, but without a place yet.
        file_name: as the sender calls it; only shown.
        metadata: what the sender says about it.
        facts: what the probe found.
    """

    staged: StagedFile
    file_name: str | None
    metadata: UploadMetadata
    facts: MediaFacts

    @property
    def digest(self) -> str:
        """What makes it the same request as another one."""
        request = [self.staged.sha256, self.file_name, asdict(self.metadata)]
        return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def accept(
    upload: Upload,
    *,
    sessions: Sessions,
    storage: Storage,
    sender: JobSender,
    idempotency: IdempotencyToken | None = None,
    owner: str | None = None,
    quotas: Quotas = UNLIMITED,
    alongside: Callable[[Session, Accepted], None] | None = None,
) -> Accepted:
    """Accept a file that was received and probed: catalog it, commit, then wake a worker.

    The same content twice is the same video; if its ingest had failed it is queued again. The
    staged file is gone afterwards, whatever happens.

    Args:
        upload: the file and what is known of it.
        sessions: writing sessions.
        storage: where the file gets its place.
        sender: wakes a worker.
        idempotency: a repetition with the same token gets the same answer.
        owner: the `key_id` of who sent it, whose quota it counts for; None: nobody's.
        quotas: how much may be uploaded and kept.
        alongside: takes part in the transaction, when the rows of the video are written.

    Raises:
        ConflictError: the key was used for another request.
        TooManyRequestsError: the owner has uploaded enough today.
        UnavailableError: no model is registered yet.
        StorageFullError: the disk is full, or as much is kept as may be.
        StorageUnavailableError: the object store is away.
    """

    def count(session: Session, *, is_new: bool) -> None:
        if owner is not None:
            quotas.count_upload(session, owner, upload.staged.size_bytes, is_new=is_new)

    def catalog(session: Session) -> tuple[Accepted, list[Job]]:
        accepted, jobs = _catalog(session, upload, storage, count)
        if alongside is not None:
            alongside(session, accepted)
        return accepted, jobs

    try:
        storage.send_ahead(upload.staged)
        accepted, new_jobs = in_transaction(
            sessions, lambda session: _once(session, idempotency, upload, catalog)
        )
    finally:
        upload.staged.discard()
    for job in new_jobs:
        sender.send(Task.INGEST_VIDEO, job.id)
    return accepted


class Count(Protocol):
    """Counts an upload for a quota, or refuses it."""

    def __call__(self, session: Session, *, is_new: bool) -> None: ...


def _once(
    session: Session,
    token: IdempotencyToken | None,
    upload: Upload,
    catalog: Callable[[Session], tuple[Accepted, list[Job]]],
) -> tuple[Accepted, list[Job]]:
    """Catalog an upload, unless a request with the same token did: then return its answer."""
    if token is None:
        return catalog(session)
    earlier = session.get(IdempotencyKey, (token.owner, token.key))
    if earlier is not None:
        return _same_answer(earlier, upload.digest), []
    accepted, jobs = catalog(session)
    session.add(_answered(token, upload, accepted))
    return accepted, jobs


def _catalog(
    session: Session, upload: Upload, storage: Storage, count: Count
) -> tuple[Accepted, list[Job]]:
    """Write the rows of an upload, and give the file its place before they are committed."""
    active_generation(session)
    staged = upload.staged
    video = lock_live_by_content(session, staged.sha256)
    count(session, is_new=video is None)
    make_blob_live(session, staged.sha256, staged.size_bytes)
    storage.publish(staged)
    is_duplicate = video is not None
    if video is None:
        video = _add_video(session, upload)
        jobs = add_ingest_jobs(session, video)
    else:
        jobs = _queue_again(session, video) if video.state is VideoState.FAILED else []
    job_id = jobs[0].id if jobs else latest_jobs(session, [video.id])[video.id].id
    return Accepted(video_id=video.id, job_id=job_id, is_duplicate=is_duplicate), jobs


def _add_video(session: Session, upload: Upload) -> Video:
    file_name = clean_file_name(upload.file_name)
    video = Video(
        sha256=upload.staged.sha256,
        file_name=file_name,
        title=upload.metadata.title or title_of(file_name),
        fields=upload.metadata.fields,
        state=VideoState.QUEUED,
    )
    set_facts(video, upload.facts)
    session.add(video)
    session.flush()
    replace_tags(session, video.id, upload.metadata.tags)
    return video


def _queue_again(session: Session, video: Video) -> list[Job]:
    video.version += 1
    video.state = VideoState.QUEUED
    video.reason = video.detail = video.decode_report = None
    session.flush()
    return add_ingest_jobs(session, video)


def _same_answer(earlier: IdempotencyKey, digest: str) -> Accepted:
    if earlier.request_digest != digest:
        raise reused()
    answer = earlier.response
    return Accepted(
        video_id=UUID(answer["video_id"]),
        job_id=UUID(answer["job_id"]),
        is_duplicate=answer["is_duplicate"],
    )


def _answered(token: IdempotencyToken, upload: Upload, accepted: Accepted) -> IdempotencyKey:
    answer = {
        "video_id": str(accepted.video_id),
        "job_id": str(accepted.job_id),
        "is_duplicate": accepted.is_duplicate,
    }
    return IdempotencyKey(
        owner=token.owner, key=token.key, request_digest=upload.digest, response=answer
    )
