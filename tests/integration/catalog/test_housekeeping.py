"""Files that nobody needs go away; the others never do."""

import os
import threading
import time

import pytest
from sqlalchemy import func, select, update

from service import housekeeping, videos
from service.access import make_login_token
from service.catalog.door_tables import LoginToken
from service.catalog.job_queries import claim_job
from service.catalog.session import in_transaction
from service.catalog.tables import Blob, BlobState, IdempotencyKey, utc_now
from service.idempotency import IdempotencyToken
from tests.factories import derive, ingest, stage
from tests.stored_files import blob_path, blob_paths, derived_paths

GRACE_S = 100.0


def sweep(sessions, storage, grace_s=GRACE_S):
    return housekeeping.sweep_files(sessions, storage, grace_s=grace_s)


def age(path):
    """Make a file or folder look older than the grace time."""
    then = time.time() - 2 * GRACE_S
    for each in (path, *(path.iterdir() if path.is_dir() else ())):
        os.utime(each, (then, then))


def publish(storage, content):
    """Give a file its place without a row, and return where it is."""
    staged = stage(storage, content)
    storage.publish(staged)
    return blob_path(storage, staged.sha256)


def age_condemned(sessions):
    with sessions.begin() as session:
        then = utc_now().replace(year=2020)
        session.execute(
            update(Blob).where(Blob.state == BlobState.CONDEMNED).values(condemned_at=then)
        )


def test_what_is_fresh_stays(sessions, storage, upload):
    accepted = upload()
    ingest(sessions, storage, accepted.job_id)
    stage(storage)
    assert sum(vars(sweep(sessions, storage)).values()) == 0


def test_an_upload_that_was_left_is_removed(sessions, storage):
    staged = stage(storage)
    age(staged.path)
    assert sweep(sessions, storage).staging == 0  # its process lives
    staged.hold.release()
    assert sweep(sessions, storage).staging == 1
    assert not staged.path.exists()


def test_the_work_of_a_running_job_stays_and_that_of_a_lost_one_goes(sessions, storage, upload):
    job_id = upload().job_id
    job = in_transaction(sessions, lambda session: claim_job(session, job_id, lease_s=60))
    running = storage.open_derived(job.subject_id, job.id, job.fence)
    lost = storage.open_derived(job.subject_id, job.id, job.fence + 1)
    for path in storage.staging.iterdir():
        age(path)

    assert sweep(sessions, storage).staging == 1
    assert [path.name for path in storage.staging.iterdir()] == [f"work-{job.id}-{job.fence}"]
    running.discard()
    lost.discard()


def test_a_file_that_no_row_names_is_condemned_first_and_unlinked_later(sessions, storage):
    path = publish(storage, b"orphan")
    age(path)

    assert sweep(sessions, storage).condemned == 1
    assert path.exists()
    age_condemned(sessions)
    assert sweep(sessions, storage).unlinked == 1
    assert not path.exists()
    assert sum(vars(sweep(sessions, storage)).values()) == 0


def test_a_file_that_came_back_without_a_row_is_removed_again(sessions, storage):
    for _round in range(2):
        path = publish(storage, b"orphan")
        age(path)
        assert sweep(sessions, storage).condemned == 1
        age_condemned(sessions)
        assert sweep(sessions, storage).unlinked == 1
        assert not path.exists()


def test_the_file_of_a_deleted_video_goes_after_the_grace_time(sessions, storage, upload):
    accepted = upload(b"content")
    ingest(sessions, storage, accepted.job_id)
    videos.delete_video(sessions, accepted.video_id)
    (path,) = blob_paths(storage)

    assert sweep(sessions, storage).unlinked == 0
    assert path.exists()
    age_condemned(sessions)
    age(derived_paths(storage)[0])
    swept = sweep(sessions, storage)
    assert (swept.unlinked, swept.derived) == (1, 1)
    assert not path.exists()
    assert derived_paths(storage) == []


def test_a_file_that_was_uploaded_again_is_not_unlinked(sessions, storage, upload):
    videos.delete_video(sessions, upload(b"same").video_id)
    age_condemned(sessions)
    upload(b"same")

    assert sweep(sessions, storage).unlinked == 0
    (path,) = blob_paths(storage)
    assert path.read_bytes() == b"same"


def test_a_file_that_is_gone_can_be_uploaded_again(sessions, storage, upload):
    videos.delete_video(sessions, upload(b"same").video_id)
    age_condemned(sessions)
    sweep(sessions, storage)
    upload(b"same")
    (path,) = blob_paths(storage)
    assert path.read_bytes() == b"same"


def test_sweeps_and_uploads_of_the_same_content_never_lose_its_file(sessions, storage, upload):
    lost = []

    def come_and_go():
        for _round in range(6):
            accepted = upload(b"same")
            if not blob_paths(storage):
                lost.append(accepted)
            videos.delete_video(sessions, accepted.video_id)

    worker = threading.Thread(target=come_and_go)
    worker.start()
    while worker.is_alive():
        housekeeping.unlink_condemned(sessions, storage, 0)
    worker.join()
    assert lost == []


def test_folders_of_lost_attempts_go_and_the_named_one_stays(sessions, storage, upload):
    accepted = upload()
    derive(storage, accepted.video_id, accepted.job_id, 0)
    ingest(sessions, storage, accepted.job_id)
    for path in derived_paths(storage):
        age(path)

    assert sweep(sessions, storage).derived == 1
    with sessions() as session:
        named = videos.read_video(session, accepted.video_id).video.derived
    assert derived_paths(storage) == [storage.root / named]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_rows_that_have_expired_are_forgotten(sessions, upload):
    make_login_token(sessions, ttl_s=-1)
    make_login_token(sessions, ttl_s=60)
    upload(idempotency=IdempotencyToken(owner="a", key="old"))
    with sessions.begin() as session:
        session.execute(update(IdempotencyKey).values(created_at=utc_now().replace(year=2020)))
    housekeeping.forget_old_rows(sessions)
    with sessions() as session:
        counts = [
            session.scalar(select(func.count()).select_from(table))
            for table in (LoginToken, IdempotencyKey)
        ]
    assert counts == [1, 0]
