"""A real Celery worker process: embedded and Redis brokers, kill -9, shutdown, poison."""

import shutil
import time
from contextlib import suppress

import psutil
import pytest
import redis

from service.catalog import audit
from service.catalog.ingest_queries import delete_video
from service.catalog.session import in_transaction
from service.catalog.tables import JobState, VideoState
from service.jobs import JobSender
from tests.factories_ingest import (
    DEADLINE_S,
    count_segments,
    get_job,
    get_video,
    running_worker,
    wait_for,
    wait_for_state,
)
from tests.factories_ingest import upload_file as send_lost
from tests.stored_files import blob_path
from workers.lease import HEARTBEAT_S

SLOW_S = 60
"""Length of a video that takes some seconds: it has twenty segments a second."""


@pytest.fixture
def settings(settings, request):
    """The embedded broker beside SQLite, Redis beside PostgreSQL, as people run them."""
    if settings.database_url.startswith("sqlite"):
        return settings
    return settings.model_copy(update={"broker_url": request.getfixturevalue("redis_url")})


@pytest.fixture
def slow_settings(settings):
    """Many segments and small batches."""
    slow = {"segment_s": 0.1, "segment_every_s": 0.05, "embed_batch": 1}
    return settings.model_copy(update=slow)


@pytest.fixture
def log(tmp_path):
    """Where the worker writes its log."""
    return tmp_path / "worker.log"


def assert_consistent(sessions, storage):
    with sessions() as session:
        assert audit.audit(session, storage, grace_s=3600) == []


def freeze_in_the_middle(worker, sessions, job_id):
    """Wait until a job is in the middle of its work, and hold it there: its decoder sleeps.

    Returns:
        The decoders.
    """
    decoders: list[psutil.Process] = []

    def is_in_the_middle() -> bool:
        """Let it go on step by step: on a busy machine all of it may pass between two looks."""
        decoders[:] = worker.decoders()
        with suppress(psutil.NoSuchProcess):  # the first one only looks at the file
            for decoder in decoders:
                decoder.suspend()
            if not decoders:
                return False
            time.sleep(HEARTBEAT_S)  # progress is written with it
            if 0.02 < get_job(sessions, job_id).progress < 1:
                return True
            for decoder in decoders:
                decoder.resume()
        return False

    wait_for(is_in_the_middle)
    assert decoders
    assert get_job(sessions, job_id).state is JobState.RUNNING
    return decoders


def wait_for_end(processes):
    """Wait until processes are gone."""
    _, alive = psutil.wait_procs(processes, DEADLINE_S)
    assert alive == []


def test_uploads_become_searchable_and_the_worker_stops_cleanly(
    *, upload_file, make_video, settings, sessions, storage, log
):
    with running_worker(settings, log) as worker:
        uploads = [upload_file(make_video(f"{n}.mp4", duration_s=n)) for n in (2, 3, 4)]
        for accepted in uploads:
            wait_for_state(sessions, accepted.job_id, JobState.DONE)
        family = worker.family()
        assert worker.stop() == 0
        wait_for_end(family)

    assert [count_segments(sessions, each.video_id) for each in uploads] == [2, 3, 4]
    assert "Traceback" not in worker.log
    assert_consistent(sessions, storage)


def test_a_worker_killed_in_the_middle_loses_nothing(
    *, upload_file, make_video, slow_settings, sessions, storage, log
):
    accepted = upload_file(make_video(duration_s=SLOW_S))
    with running_worker(slow_settings, log) as worker:
        freeze_in_the_middle(worker, sessions, accepted.job_id)
        wait_for_end(worker.kill())
    assert get_video(sessions, accepted.video_id).state is VideoState.PROCESSING
    assert count_segments(sessions, accepted.video_id) == 0

    with running_worker(slow_settings, log):
        job = wait_for_state(sessions, accepted.job_id, JobState.DONE)

    assert job.attempts == 2
    assert get_video(sessions, accepted.video_id).state is VideoState.READY
    assert count_segments(sessions, accepted.video_id) == 20 * SLOW_S - 1
    assert_consistent(sessions, storage)


def test_a_killed_clock_does_not_end_the_sweeps(
    *, upload_file, make_video, settings, sessions, storage, tmp_path, log
):
    elsewhere = JobSender(
        settings.model_copy(update={"broker_url": None, "data_dir": tmp_path / "elsewhere"})
    )
    with running_worker(settings, log) as worker:
        first = upload_file(make_video("first.mp4"))
        wait_for_state(sessions, first.job_id, JobState.DONE)
        clocks = [each for each in worker.family() if "celery" in " ".join(each.cmdline())]
        assert clocks
        for clock in clocks:
            clock.kill()
        lost = send_lost(sessions, storage, elsewhere, make_video("lost.mp4", duration_s=3))
        wait_for_state(sessions, lost.job_id, JobState.DONE)
        assert "clock_is_silent" in worker.log
    elsewhere.close()


def test_a_deleted_video_stops_its_ingest(
    *, upload_file, make_video, slow_settings, sessions, storage, log
):
    accepted = upload_file(make_video(duration_s=SLOW_S))
    with running_worker(slow_settings, log) as worker:
        decoders = freeze_in_the_middle(worker, sessions, accepted.job_id)
        in_transaction(sessions, lambda session: delete_video(session, accepted.video_id))
        wait_for_end(decoders)
        wait_for(lambda: "job_lost" in worker.log)
        other = upload_file(make_video("other.mp4"))
        wait_for_state(sessions, other.job_id, JobState.DONE)

    assert get_job(sessions, accepted.job_id).state is JobState.CANCELLED
    assert count_segments(sessions, accepted.video_id) == 0
    assert_consistent(sessions, storage)


def test_a_worker_told_to_stop_gives_back_what_it_cannot_finish(
    *, upload_file, make_video, slow_settings, sessions, log
):
    accepted = upload_file(make_video(duration_s=SLOW_S))
    with running_worker(slow_settings.model_copy(update={"drain_s": 0.0}), log) as worker:
        freeze_in_the_middle(worker, sessions, accepted.job_id)
        assert worker.stop() == 0

    job = get_job(sessions, accepted.job_id)
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)
    assert get_video(sessions, accepted.video_id).state is VideoState.QUEUED


def test_a_job_that_always_fails_is_given_up_and_others_go_on(
    *, upload_file, make_video, settings, sessions, storage, log
):
    poison = upload_file(make_video("poison.mp4", duration_s=3))
    blob_path(storage, get_video(sessions, poison.video_id).sha256).unlink()
    good = upload_file(make_video("good.mp4", duration_s=2))
    with running_worker(settings, log) as worker:
        wait_for_state(sessions, good.job_id, JobState.DONE)
        job = wait_for_state(sessions, poison.job_id, JobState.FAILED)
        assert worker.process.is_running()

    assert (job.attempts, job.reason) == (settings.job_attempts, "internal_error")
    video = get_video(sessions, poison.video_id)
    assert (video.state, video.reason) == (VideoState.FAILED, "internal_error")


def test_a_lost_message_is_sent_again(*, upload_file, make_video, settings, sessions, log):
    accepted = upload_file(make_video(duration_s=2))
    if settings.broker_url is None:
        shutil.rmtree(settings.data_dir / "broker")
    else:
        with redis.Redis.from_url(settings.broker_url) as client:
            client.flushall()

    with running_worker(settings, log):
        wait_for_state(sessions, accepted.job_id, JobState.DONE)
