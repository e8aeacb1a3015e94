"""What a sweep does: files that nobody needs go away after a grace time."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from service import quotas
from service.catalog import (
    access_queries,
    blob_queries,
    delivery_queries,
    resumable_queries,
    retired_queries,
    tuning_queries,
    upload_queries,
)
from service.catalog.job_queries import running_work
from service.catalog.session import Sessions, allow_idling, in_transaction
from service.catalog.tables import BlobState
from service.registry import Registry
from service.storage import Storage, age_s, attempt_name, work_name

log = structlog.get_logger(__name__)

IDEMPOTENCY_KEYS_KEPT_S = 7 * 86400.0
DELIVERIES_KEPT_S = 30 * 86400.0
STEPS_OF_A_SWEEP = 20
"""Transactions in which one sweep empties a retired generation; the next one goes on. Lost jobs
wait for the end of a sweep, and writers of SQLite for each other."""
UPLOADS_OF_A_SWEEP = 100


@dataclass(frozen=True, kw_only=True)
class Swept:
    """How many of each a sweep removed."""

    staging: int
    derived: int
    tunings: int
    condemned: int
    unlinked: int
    uploads: int


def sweep_files(sessions: Sessions, storage: Storage, *, grace_s: float) -> Swept:
    """Remove files that no row names and that are older than the grace time; run it at any time.

    An upload writes its file before its row, and a reader may still hold what was deleted a
    moment ago: the grace time is for both.

    Args:
        sessions: writing sessions.
        storage: the files.
        grace_s: age from which a file is removed, seconds.
    """
    swept = Swept(
        staging=_sweep_staging(sessions, storage, grace_s),
        derived=_sweep_derived(sessions, storage, grace_s),
        tunings=_sweep_tunings(sessions, storage, grace_s),
        condemned=_condemn_strays(sessions, storage, grace_s),
        unlinked=unlink_condemned(sessions, storage, grace_s),
        uploads=_sweep_uploads(sessions, storage, grace_s),
    )
    if swept != Swept(staging=0, derived=0, tunings=0, condemned=0, unlinked=0, uploads=0):
        log.info("files_swept", **vars(swept))
    return swept


def sweep_generations(
    sessions: Sessions, storage: Storage, registry: Registry, *, grace_s: float
) -> None:
    """Retire generations whose time is over, and take away what retired ones hold.

    Each step is a short transaction, so that uploads need not wait for it; what is left after some
    of them is for the next sweep.

    Args:
        sessions: writing sessions.
        storage: the files; those of snapshots go, clips go with `sweep_files`.
        registry: the models; copies of bundles that nothing was embedded by go.
        grace_s: age from which such a copy is removed, seconds.
    """
    retired = in_transaction(sessions, retired_queries.retire_what_ended)
    with sessions() as session:
        remaining = retired_queries.retired_with_remains(session)
    for generation_id in remaining:
        for _ in range(STEPS_OF_A_SWEEP):
            if not in_transaction(sessions, partial(_empty_some, generation_id=generation_id)):
                break
        forget = partial(retired_queries.forget_snapshots, generation_id=generation_id)
        for path in in_transaction(sessions, forget):
            (storage.snapshots / Path(path).name).unlink(missing_ok=True)
    if retired or remaining:
        log.info("generations_swept", retired=len(retired), emptied=len(remaining))
    _forget_bundles(sessions, registry, grace_s)


def _empty_some(session: Session, *, generation_id: UUID) -> bool:
    return retired_queries.empty_some(session, generation_id)


def _forget_bundles(sessions: Sessions, registry: Registry, grace_s: float) -> None:
    # The age first: a copy is made before the row that needs it
    old = [each for each in registry.kept.glob("*") if age_s(each) > grace_s]
    if not old:
        return
    with sessions() as session:
        used = retired_queries.digests_in_use(session)
    for each in old:
        if each.name not in used:
            shutil.rmtree(each, ignore_errors=True)


def forget_old_rows(sessions: Sessions) -> None:
    """Remove rows that have expired: login tokens, sessions, idempotency keys, old counts."""

    def forget(session: Session) -> None:
        access_queries.forget_expired_tokens(session)
        upload_queries.forget_idempotency_keys(session, older_than_s=IDEMPOTENCY_KEYS_KEPT_S)
        quotas.forget_old_usage(session)
        delivery_queries.forget_deliveries(session, older_than_s=DELIVERIES_KEPT_S)

    in_transaction(sessions, forget)


def _sweep_staging(sessions: Sessions, storage: Storage, grace_s: float) -> int:
    with sessions() as session:
        keep = {work_name(*work) for work in running_work(session)}
    stale = list(storage.stale_staging(older_than_s=grace_s, keep=keep))
    for path in stale:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(stale)


def _sweep_derived(sessions: Sessions, storage: Storage, grace_s: float) -> int:
    # The age first: a folder that is named between the two looks is younger than the grace time
    old = [folder for folder in storage.stored_derived() if folder.age_s > grace_s]
    if not old:
        return 0
    with sessions() as session:
        # a clock that was stepped makes young folders old, so those of running jobs stay anyway;
        # and these first: what is committed meanwhile is named
        running = {attempt_name(*work) for work in running_work(session)}
        named = blob_queries.named_derived(session)
    strays = [each for each in old if each.name not in named and each.attempt not in running]
    for folder in strays:
        storage.remove_derived(folder)
    return len(strays)


def _sweep_tunings(sessions: Sessions, storage: Storage, grace_s: float) -> int:
    """Remove the folders of runs that ended, or that no row names; models and reports are kept."""
    old = {id_: path for id_, path in storage.tunings_on_disk() if age_s(path) > grace_s}
    if not old:
        return 0
    with sessions() as session:
        ended = tuning_queries.ended_tunings(session, old, older_than_s=grace_s)
    for tuning_id in ended:
        shutil.rmtree(old[tuning_id], ignore_errors=True)
    return len(ended)


def _condemn_strays(sessions: Sessions, storage: Storage, grace_s: float) -> int:
    with sessions() as session:
        known = blob_queries.known_blobs(session)
    strays = [
        blob
        for blob in storage.stored_blobs()
        if known.get(blob.sha256, BlobState.GONE) is BlobState.GONE and blob.age_s > grace_s
    ]
    for blob in strays:
        in_transaction(
            sessions,
            partial(blob_queries.condemn_stray, sha256=blob.sha256, size_bytes=blob.size_bytes),
        )
    return len(strays)


def unlink_condemned(sessions: Sessions, storage: Storage, grace_s: float) -> int:
    """Unlink files whose grace time is over, each under the lock of its row."""
    with sessions() as session:
        condemned = blob_queries.condemned_blobs(session, older_than_s=grace_s)

    def unlink(session: Session, *, sha256: str) -> bool:
        # frozen for long between the lock and the removal, it must not have lost the lock: an
        # upload that revived the file meanwhile would lose it
        allow_idling(session)
        if not blob_queries.lock_condemned(session, sha256, older_than_s=grace_s):
            return False  # an upload of the same content revived it
        storage.remove_blob(sha256)
        blob_queries.mark_gone(session, sha256)
        return True

    return sum(in_transaction(sessions, partial(unlink, sha256=sha256)) for sha256 in condemned)


def drop_parts(sessions: Sessions, storage: Storage, upload_id: UUID) -> None:
    """Remove the pieces of an upload that has ended: the bytes first, then what names them."""
    with sessions() as session:
        parts = resumable_queries.parts_of(session, upload_id)
    for part in parts:
        storage.remove_part(part.name)
    in_transaction(sessions, partial(resumable_queries.forget_parts, upload_id=upload_id))


def _sweep_uploads(sessions: Sessions, storage: Storage, grace_s: float) -> int:
    """Forget uploads that stood still for too long, and pieces that no row names."""
    with sessions() as session:
        expired = resumable_queries.expired_uploads(session, limit=UPLOADS_OF_A_SWEEP)
    for upload_id in expired:
        if in_transaction(sessions, partial(resumable_queries.close_expired, upload_id=upload_id)):
            drop_parts(sessions, storage, upload_id)
            in_transaction(sessions, partial(resumable_queries.forget_upload, upload_id=upload_id))
    # The age first: a piece that is counted between the two looks is younger than the grace time
    old = [part.name for part in storage.stored_parts() if part.age_s > grace_s]
    if not old:
        return len(expired)
    with sessions() as session:
        known = resumable_queries.known_parts(session)
    strays = [name for name in old if name not in known]
    for name in strays:
        storage.remove_part(name)
    return len(expired) + len(strays)
