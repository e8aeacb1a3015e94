"""A file that was received, by whatever way, becomes a video: probed, accepted, described."""

from pathlib import Path

from service import footage, uploads, videos
from service.api.schemas import UploadLinks, UploadOut
from service.api.state import State
from service.catalog.ingest_queries import MediaFacts
from service.catalog.tables import VideoState
from service.errors import NotFoundError, RefusedMediaError
from service.idempotency import IdempotencyToken
from service.metadata import UploadMetadata
from service.storage import Staging
from service.uploads import Accepted


def accept_staged(
    state: State,
    staging: Staging,
    *,
    file_name: str | None,
    metadata: UploadMetadata,
    owner: str,
    idempotency: IdempotencyToken | None,
) -> UploadOut:
    """Finish a file that is complete, and hand it to the use case.

    Args:
        state: what routes share.
        staging: the file; gone afterwards.
        file_name: as the sender calls it.
        metadata: what the sender says about it.
        owner: `key_id` of who sent it.
        idempotency: makes a repetition known.

    Raises:
        ServiceError: it is not accepted.
    """
    if staging.size_bytes == 0:
        raise RefusedMediaError("The file is empty.", reason="empty_file")
    staged = staging.finish()
    try:
        facts = probe_measured(state, staged.path)
        accepted = uploads.accept(
            uploads.Upload(staged=staged, file_name=file_name, metadata=metadata, facts=facts),
            sessions=state.sessions,
            storage=state.storage,
            sender=state.sender,
            idempotency=idempotency,
            owner=owner,
            quotas=state.quotas,
        )
    finally:
        staged.discard()
    return _describe(state, accepted)


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


def _describe(state: State, accepted: Accepted) -> UploadOut:
    try:
        with state.reads() as session:
            found = videos.read_video(session, accepted.video_id).video.state
    except NotFoundError:  # deleted since: by another client, or before this repetition
        found = VideoState.DELETED
    return UploadOut(
        id=accepted.video_id,
        job_id=accepted.job_id,
        is_duplicate=accepted.is_duplicate,
        state=found,
        links=UploadLinks(
            self=f"/v1/videos/{accepted.video_id}",
            job=f"/v1/jobs/{accepted.job_id}",
            events=f"/v1/jobs/{accepted.job_id}/events",
        ),
    )
