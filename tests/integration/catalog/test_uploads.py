"""What an accepted upload leaves behind, and what it never does."""

import base64
import json
import threading
from uuid import UUID

import pytest
from sqlalchemy import func, select

from service import videos
from service.catalog.job_queries import claim_job, fail_job
from service.catalog.session import in_transaction
from service.catalog.tables import Blob, BlobState, Embedding, Job, JobState, Video, VideoState
from service.errors import ConflictError, InvalidInputError, UnavailableError
from service.idempotency import IdempotencyToken
from service.jobs import JobSender
from tests import factories
from tests.factories import ingest, register_bundle, stage
from tests.stored_files import blob_path, blob_paths


def read(sessions, video_id):
    with sessions() as session:
        return videos.read_video(session, video_id)


def count(sessions, table):
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(table))


def fail(sessions, job_id):
    def work(session):
        job = claim_job(session, job_id, lease_s=60)
        fail_job(session, job_id, job.fence, reason="no_frames", detail="Nothing decoded.")

    in_transaction(sessions, work)


def test_an_accepted_file_is_cataloged_and_queued(sessions, storage, upload):
    accepted = upload(b"content", file_name="Beach day.mp4", tags=("sea", "sun"))

    record = read(sessions, accepted.video_id)
    assert record.video.state is VideoState.QUEUED
    assert record.video.title == "Beach day"
    assert (record.size_bytes, record.tags, record.percent) == (7, ("sea", "sun"), 0.0)
    assert record.job.id == accepted.job_id
    assert blob_path(storage, record.video.sha256).read_bytes() == b"content"
    assert list(storage.staging.iterdir()) == []
    assert not accepted.is_duplicate


def test_a_worker_is_woken_after_the_commit(settings, upload):
    accepted = upload()
    messages = list((settings.data_dir / "broker" / "messages").glob("*.msg"))
    assert len(messages) == 1
    assert str(accepted.job_id).encode() in _body(messages[0])


def _body(path):
    return base64.b64decode(json.loads(path.read_text())["body"])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_broker_that_is_down_does_no_harm(sessions, storage, settings, generation):
    assert generation is not None
    dead = JobSender(settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"}))
    accepted = factories.upload(sessions, storage, dead)
    dead.close()
    assert read(sessions, accepted.video_id).job.state is JobState.QUEUED


def test_the_same_content_twice_is_the_same_video(sessions, storage, upload):
    first = upload(b"same", title="First")
    second = upload(b"same", title="Second")

    assert (second.video_id, second.job_id) == (first.video_id, first.job_id)
    assert second.is_duplicate
    assert read(sessions, first.video_id).video.title == "First"
    assert count(sessions, Job) == 1
    assert list(storage.staging.iterdir()) == []


def test_the_same_content_at_the_same_time_is_one_video(sessions, upload):
    start = threading.Barrier(5)
    answers = []

    def race():
        start.wait()
        answers.append(upload(b"same"))

    threads = [threading.Thread(target=race) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({answer.video_id for answer in answers}) == 1
    assert sum(not answer.is_duplicate for answer in answers) == 1
    assert (count(sessions, Video), count(sessions, Job), count(sessions, Blob)) == (1, 1, 1)


def test_a_video_that_failed_is_queued_again_when_it_is_uploaded_again(sessions, storage, upload):
    first = upload(b"same")
    fail(sessions, first.job_id)
    again = upload(b"same")

    assert again.video_id == first.video_id
    assert again.job_id != first.job_id
    record = read(sessions, first.video_id)
    assert (record.video.state, record.video.version) == (VideoState.QUEUED, 2)
    assert record.video.reason is None
    assert record.job.id == again.job_id
    ingest(sessions, storage, again.job_id)
    assert read(sessions, first.video_id).video.state is VideoState.READY


def test_content_that_was_deleted_comes_back_as_a_new_video(sessions, storage, upload):
    first = upload(b"same")
    videos.delete_video(sessions, first.video_id)
    again = upload(b"same")

    assert again.video_id != first.video_id
    assert not again.is_duplicate
    with sessions() as session:
        (blob,) = session.scalars(select(Blob))
        assert (blob.state, blob.condemned_at) == (BlobState.LIVE, None)
    assert blob_path(storage, blob.sha256).is_file()


def test_a_repeated_request_gets_the_same_answer(sessions, upload):
    token = IdempotencyToken(owner="key 1", key="abc")
    first = upload(b"one", idempotency=token)
    videos.delete_video(sessions, first.video_id)

    assert upload(b"one", idempotency=token) == first
    assert count(sessions, Video) == 1


def test_a_key_that_was_used_for_another_request_is_refused(sessions, storage, upload):
    token = IdempotencyToken(owner="key 1", key="abc")
    upload(b"one", idempotency=token)

    with pytest.raises(ConflictError) as refused:
        upload(b"two", idempotency=token)
    assert refused.value.reason == "idempotency_key_reused"
    assert count(sessions, Video) == 1
    assert list(storage.staging.iterdir()) == []
    upload(b"two", idempotency=IdempotencyToken(owner="key 2", key="abc"))


def test_repeated_requests_at_the_same_time_get_one_answer(sessions, upload):
    token = IdempotencyToken(owner="key 1", key="abc")
    start = threading.Barrier(4)
    answers = []

    def race():
        start.wait()
        answers.append(upload(b"one", idempotency=token))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert len(set(answers)) == 1
    assert count(sessions, Video) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb"])
def test_a_key_that_cannot_be_kept_is_refused(key):
    with pytest.raises(InvalidInputError):
        IdempotencyToken(owner="me", key=key)


def test_before_a_model_is_registered_nothing_is_accepted(sessions, storage, sender):
    with pytest.raises(UnavailableError):
        factories.upload(sessions, storage, sender)
    assert count(sessions, Video) == 0
    assert list(storage.staging.iterdir()) == []
    assert blob_paths(storage) == []


def test_an_upload_that_dies_before_its_commit_leaves_no_row(sessions, storage, generation):
    assert generation is not None
    stage(storage, b"never accepted")
    assert (count(sessions, Video), count(sessions, Blob), count(sessions, Job)) == (0, 0, 0)


def test_the_bundle_of_the_first_start_stays_registered(sessions):
    first = register_bundle(sessions)
    assert register_bundle(sessions) == first


def test_another_bundle_takes_over_while_nothing_is_embedded(sessions, storage, upload, generation):
    other = register_bundle(sessions, digest="cd" * 32)
    assert other.generation_id != generation.generation_id

    ingest(sessions, storage, upload().job_id)
    with pytest.raises(ConflictError) as refused:
        register_bundle(sessions, digest="ef" * 32)
    assert refused.value.reason == "other_bundle"


def test_what_waited_for_a_bundle_that_was_replaced_is_embedded_by_the_new_one(
    sessions, storage, upload, generation
):
    waiting = upload()
    other = register_bundle(sessions, digest="cd" * 32)
    ingest(sessions, storage, waiting.job_id)
    with sessions() as session:
        embedded = session.scalars(select(Embedding.generation_id).distinct()).all()
    assert embedded == [other.generation_id] != [generation.generation_id]


def test_ids_of_answers_are_ids(upload):
    accepted = upload()
    assert isinstance(accepted.video_id, UUID)
    assert isinstance(accepted.job_id, UUID)
