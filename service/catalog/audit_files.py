"""The part of the audit that looks at files."""

import hashlib
from collections.abc import Callable, Iterator
from itertools import chain

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.catalog.activation_tables import GenerationVideo
from service.catalog.blob_queries import known_blobs, named_derived
from service.catalog.clock import database_time
from service.catalog.index_queries import SEARCHABLE
from service.catalog.job_queries import running_work
from service.catalog.resumable_queries import known_parts
from service.catalog.tables import (
    Blob,
    BlobState,
    Generation,
    GenerationState,
    Video,
    VideoState,
)
from service.catalog.tuning_queries import ended_tunings
from service.catalog.violations import Violation
from service.storage import Storage, StoredFolder, age_s, work_name


def audit_files(
    session: Session, storage: Storage, *, grace_s: float, verify_digests: bool
) -> Iterator[Violation]:
    """Yield the broken promises about files.

    Args:
        session: a reading session.
        storage: the files.
        grace_s: age from which a file that no row names should be gone, seconds.
        verify_digests: read every file of a live video and compare its SHA-256.
    """
    return chain(
        _audit_blobs(session, storage, verify_digests=verify_digests),
        _audit_derived(session, storage),
        _audit_orphans(session, storage, grace_s),
    )


def _audit_blobs(
    session: Session, storage: Storage, *, verify_digests: bool
) -> Iterator[Violation]:
    rows = session.execute(
        select(Video.id, Blob.sha256, Blob.size_bytes, Blob.state)
        .join(Blob, Blob.sha256 == Video.sha256)
        .where(Video.state != VideoState.DELETED)
    ).all()
    stored = {blob.sha256: blob.size_bytes for blob in storage.stored_blobs()}
    for video_id, sha256, size_bytes, state in rows:
        subject = f"video {video_id}"
        if state is not BlobState.LIVE:
            yield Violation("condemned_file", subject, f"is live, but its file is {state}")
        if sha256 not in stored:
            yield Violation("missing_file", subject, f"its file {sha256} is missing")
        elif stored[sha256] != size_bytes or (
            verify_digests and _digest_of(storage, sha256, size_bytes) != sha256
        ):
            yield Violation("damaged_file", subject, f"its file {sha256} has other content")


def _audit_derived(session: Session, storage: Storage) -> Iterator[Violation]:
    of_videos = select(Video.id, Video.derived, Video.num_segments).where(
        Video.state.in_(SEARCHABLE)
    )
    of_generations = (
        select(Video.id, GenerationVideo.derived, Video.num_segments)
        .join(GenerationVideo, GenerationVideo.video_id == Video.id)
        .where(Video.state.in_(SEARCHABLE), GenerationVideo.derived.is_not(None))
    )
    rows = [*session.execute(of_videos), *session.execute(of_generations)]
    for video_id, name, num_segments in rows:
        try:
            num_clips = storage.count_clips(name or "")
        except FileNotFoundError:  # its text is what an object store says of the request
            yield Violation("missing_derived", f"video {video_id}", f"{name} is missing")
            continue
        except (OSError, ValueError) as error:
            yield Violation("missing_derived", f"video {video_id}", str(error))
            continue
        if num_clips != num_segments:
            detail = f"{name} holds {num_clips} clips for {num_segments} segments"
            yield Violation("missing_derived", f"video {video_id}", detail)


def _audit_orphans(session: Session, storage: Storage, grace_s: float) -> Iterator[Violation]:
    keep = {work_name(job_id, fence) for job_id, fence in running_work(session)}
    for path in storage.stale_staging(older_than_s=grace_s, keep=keep):
        yield Violation("orphan_file", str(path), "was being written and has been left")
    folders = {id_: path for id_, path in storage.tunings_on_disk() if age_s(path) > grace_s}
    for tuning_id in ended_tunings(session, folders, older_than_s=grace_s):
        detail = "belongs to no tuning that waits or runs"
        yield Violation("orphan_file", str(folders[tuning_id]), detail)
    known, named = known_blobs(session), named_derived(session)
    for blob in storage.stored_blobs():
        is_known = known.get(blob.sha256, BlobState.GONE) is not BlobState.GONE
        if not is_known and blob.age_s > grace_s:
            yield Violation("orphan_file", blob.sha256, "no row names this file")
    is_young = _was_named_lately(session, grace_s)
    for folder in storage.stored_derived():
        if folder.name not in named and folder.age_s > grace_s and not is_young(folder):
            yield Violation("orphan_file", folder.name, "no row names this folder")
    pieces = known_parts(session)
    for piece in storage.stored_parts():
        if piece.name not in pieces and piece.age_s > grace_s:
            yield Violation("orphan_file", piece.name, "no upload goes on with this piece")


def _was_named_lately(session: Session, grace_s: float) -> Callable[[StoredFolder], bool]:
    """Return what tells whether the next listing is still to remove a folder.

    Its files are as old as what was made of the video; what counts is since when nobody needs them.
    """
    changed = select(Video.id).where(Video.updated_at > database_time(-grace_s))
    lately = {str(video_id) for video_id in session.scalars(changed)}
    emptied = select(Generation.id).where(
        Generation.state == GenerationState.RETIRED,
        Generation.kept_until > database_time(-grace_s),
    )
    is_emptied = session.scalar(emptied.limit(1)) is not None
    return lambda folder: is_emptied or folder.video in lately


def _digest_of(storage: Storage, sha256: str, size_bytes: int) -> str:
    digest = hashlib.sha256()
    for window in storage.open_blob_range(sha256, 0, size_bytes):
        digest.update(window)
    return digest.hexdigest()
