"""run_job(): leases, progress, failures, giving up and giving back."""

import sqlite3
import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import create_engine, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import sessionmaker
from structlog.contextvars import bound_contextvars, get_contextvars

from service.catalog.job_queries import claim_job
from service.catalog.session import in_transaction
from service.catalog.tables import Job, JobKind, JobState, VideoState
from service.errors import StorageFullError, UnavailableError
from service.jobs import JobSender
from tests.factories_ingest import DEADLINE_S, get_job, get_video, wait_for
from tests.servers import free_port
from workers.lease import JobStoppedError, Lease
from workers.maintenance import Sweeper
from workers.runner import WorkError, run_in_line, run_job


@pytest.fixture
def accepted(upload_file, tmp_path):
    """A queued job; the works of these tests do not read its video."""
    path = tmp_path / "any.mp4"
    path.write_bytes(b"any content")
    return upload_file(path)


def full_disk():
    """What SQLite raises when its disk is full."""
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def change_job(sessions, job_id, **values):
    in_transaction(sessions, lambda s: s.execute(update(Job).filter_by(id=job_id).values(**values)))


def work_until_stopped(_job, lease, _resources):
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        lease.check()
        time.sleep(0.01)


def test_stage_and_percent_are_visible_while_it_runs(accepted, resources, sessions):
    seen = []

    def work(_job, lease, _resources):
        lease.report("embedding", 0.25)
        wait_for(lambda: get_job(sessions, accepted.job_id).progress > 0)
        job = get_job(sessions, accepted.job_id)
        seen.append((job.state, job.stage, job.progress))

    run_job(accepted.job_id, work, resources)

    assert seen == [(JobState.RUNNING, "embedding", 0.25)]


def test_jobs_in_line_run_in_the_order_in_which_they_came(upload_file, resources, tmp_path):
    waiting = []
    for number in range(3):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(f"content {number}".encode())
        waiting.append(upload_file(path).job_id)
    worked = []

    def work(job, _lease, _resources):
        worked.append(job.id)
        if job.id == waiting[1]:
            raise WorkError("broken", "It is broken.", is_final=False)

    run_in_line(JobKind.INGEST, work, resources)

    assert worked == waiting  # the broken one once: the sweep brings it again


def test_the_lease_holds_while_the_work_is_longer_than_it(accepted, resources, sessions):
    lease_s = resources.settings.job_lease_s
    others = []

    def work(_job, lease, _resources):
        claimed_until = get_job(sessions, accepted.job_id).lease_until
        whole = timedelta(seconds=lease_s)  # renewed so often that the first lease is over
        wait_for(lambda: get_job(sessions, accepted.job_id).lease_until > claimed_until + whole)
        lease.check()
        others.append(
            in_transaction(
                sessions,
                lambda s: claim_job(s, accepted.job_id, lease_s=lease_s, max_attempts=9),
            )
        )

    run_job(accepted.job_id, work, resources)

    assert set(others) == {None}
    assert get_job(sessions, accepted.job_id).attempts == 1


def test_work_stops_when_no_connection_is_free_to_renew_the_lease(accepted, resources, settings):
    engine = create_engine(settings.sqlalchemy_url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    job = in_transaction(resources.sessions, lambda s: claim_job(s, accepted.job_id, lease_s=1))
    lease = Lease(sessionmaker(engine), job, lease_s=1, must_stop=lambda: False)
    with engine.connect(), lease, pytest.raises(JobStoppedError):
        work_until_stopped(job, lease, resources)
    engine.dispose()
    assert lease.is_lost


def test_a_cancelled_job_stops_its_work(accepted, resources, sessions):
    stopped = threading.Event()

    def work(_job, lease, _resources):
        with lease.stopping(stopped.set):
            change_job(sessions, accepted.job_id, state=JobState.CANCELLED)
            assert stopped.wait(DEADLINE_S)
            raise OSError("what was stopped fails")

    run_job(accepted.job_id, work, resources)

    job = get_job(sessions, accepted.job_id)
    assert (job.state, job.reason) == (JobState.CANCELLED, None)


def test_a_job_taken_by_another_worker_is_left_alone(accepted, resources, sessions):
    def work(job, lease, resources):
        change_job(sessions, accepted.job_id, fence=job.fence + 1)
        with pytest.raises(JobStoppedError):
            work_until_stopped(job, lease, resources)
        raise WorkError("not_a_video", "This worker has nothing to say any more.", is_final=True)

    run_job(accepted.job_id, work, resources)

    job = get_job(sessions, accepted.job_id)
    assert (job.state, job.reason) == (JobState.RUNNING, None)


def test_a_worker_that_stops_gives_the_job_back(accepted, resources, sessions):
    def work(job, lease, resources):
        resources.stop_work_in(0)
        work_until_stopped(job, lease, resources)

    run_job(accepted.job_id, work, resources)

    job = get_job(sessions, accepted.job_id)
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)


def test_a_final_failure_is_told_at_once(accepted, resources, sessions):
    def work(*_):
        raise WorkError("encrypted", "The video is encrypted.", is_final=True)

    run_job(accepted.job_id, work, resources)

    job, video = get_job(sessions, accepted.job_id), get_video(sessions, accepted.video_id)
    assert (job.state, job.reason, job.attempts) == (JobState.FAILED, "encrypted", 1)
    assert (video.state, video.detail) == (VideoState.FAILED, "The video is encrypted.")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError("a bug"), "internal_error"),
        (WorkError("decode_time_limit", "It took too long.", is_final=False), "decode_time_limit"),
    ],
)
def test_other_failures_are_tried_again_a_few_times(
    *, error, reason, accepted, resources, sessions
):
    def work(*_):
        raise error

    states = []
    for _ in range(resources.settings.job_attempts + 2):
        run_job(accepted.job_id, work, resources)
        states.append(get_job(sessions, accepted.job_id).state)

    assert states == [JobState.QUEUED] * 2 + [JobState.FAILED] * 3
    job = get_job(sessions, accepted.job_id)
    assert (job.attempts, job.reason) == (resources.settings.job_attempts, reason)
    assert get_video(sessions, accepted.video_id).state is VideoState.FAILED


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StorageFullError("The disk is full."), "storage_full"),
        (
            UnavailableError("The store is away.", reason="storage_unavailable"),
            "storage_unavailable",
        ),
        (OperationalError("", None, full_disk()), "storage_full"),
    ],
    ids=["disk", "store", "database"],
)
def test_what_is_only_in_the_way_costs_no_attempt(*, error, reason, accepted, resources, sessions):
    def work(*_):
        raise error

    for _ in range(resources.settings.job_attempts + 2):
        run_job(accepted.job_id, work, resources)
        job = get_job(sessions, accepted.job_id)
        assert (job.state, job.attempts, job.reason) == (JobState.QUEUED, 0, reason)
        assert not in_transaction(sessions, lambda s: claim_job(s, accepted.job_id, lease_s=1))
        change_job(sessions, accepted.job_id, not_before=None)  # as if it had waited

    run_job(accepted.job_id, lambda *_: None, resources)

    assert get_job(sessions, accepted.job_id).attempts == 1
    assert get_video(sessions, accepted.video_id).reason is None


def test_a_job_whose_workers_always_die_is_given_up_by_the_sweep(accepted, resources, sessions):
    sweeper = Sweeper(resources)
    for _ in range(resources.settings.job_attempts):
        assert in_transaction(sessions, lambda s: claim_job(s, accepted.job_id, lease_s=-1))
        assert get_job(sessions, accepted.job_id).state is JobState.RUNNING
    sweeper.sweep()

    job = get_job(sessions, accepted.job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "worker_lost")
    run_job(accepted.job_id, work_until_stopped, resources)
    assert get_job(sessions, accepted.job_id).state is JobState.FAILED


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_waiting_job_is_sent_again_but_not_at_every_sweep(accepted, resources, settings):
    messages = settings.data_dir / "broker" / "messages"
    sweeper = Sweeper(resources)
    assert len(list(messages.iterdir())) == 1
    time.sleep(settings.sweep_every_s)  # it must be old enough, by the database's clock

    for _ in range(3):
        sweeper.sweep()

    assert len(list(messages.iterdir())) == 2
    assert get_job(resources.sessions, accepted.job_id).sent_at is not None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_job_that_the_broker_did_not_take_is_sent_at_the_next_sweep(
    accepted, resources, settings
):
    away = settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{free_port()}/0"})
    time.sleep(settings.sweep_every_s)  # it must be old enough, by the database's clock
    here, resources.sender = resources.sender, JobSender(away)
    Sweeper(resources).sweep()
    resources.sender.close()
    assert get_job(resources.sessions, accepted.job_id).sent_at is None

    resources.sender = here
    Sweeper(resources).sweep()

    assert get_job(resources.sessions, accepted.job_id).sent_at is not None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_sweep_removes_what_nobody_needs(resources, settings, storage):
    stray = storage.staging / "upload-stray"
    stray.write_bytes(b"left behind")
    resources.settings = settings.model_copy(update={"orphan_grace_s": 0.01})
    wait_for(lambda: time.time() - stray.stat().st_mtime > 0.01)

    Sweeper(resources).sweep()

    assert not stray.exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_store_is_listed_less_often_than_the_rest_is_swept(resources, storage, monkeypatch):
    """A listing of a large store takes minutes, in which lost jobs must be sent again."""
    listed = []

    def list_slowly():
        time.sleep(0.05)
        sweeper.sweep()  # that of another thread
        listed.append(sweeper.idle_s < 0.05)
        return iter(())

    resources.storage = storage
    monkeypatch.setattr(storage, "stored_blobs", list_slowly)
    sweeper = Sweeper(resources)

    for _ in range(3):
        sweeper.sweep()

    assert listed == [True]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_lines_of_a_job_name_the_request_that_asked_for_it(upload_file, resources, tmp_path):
    path = tmp_path / "any.mp4"
    path.write_bytes(b"content of a request")
    with bound_contextvars(request_id="of-the-upload"):
        accepted = upload_file(path)
    seen = []

    def work(job, _lease, _resources):
        seen.append((get_contextvars(), Job(kind=JobKind.EMBED, subject_id=job.subject_id)))
        with resources.sessions() as session:
            session.add(seen[0][1])
            seen[0][1].version = job.version
            session.flush()

    run_job(accepted.job_id, work, resources)

    ((fields, embed_job),) = seen
    assert fields["request_id"] == "of-the-upload"
    assert fields["job_id"] == str(accepted.job_id)
    assert fields["video_id"] == str(accepted.video_id)
    assert embed_job.request_id == "of-the-upload"
