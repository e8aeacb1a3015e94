"""The jobs table is the queue: who may work on what, and until when."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest

from service.catalog import job_queries
from service.catalog.job_queries import (
    LostLeaseError,
    claim_job,
    fail_job,
    fail_poisoned_jobs,
    get_job,
    release_job,
    renew_lease,
    requeue_job,
)
from service.catalog.message_queries import due_jobs, mark_sent
from service.catalog.session import in_transaction
from service.catalog.tables import Job, JobKind, JobState, Video, VideoState, utc_now
from service.errors import NotFoundError


@pytest.fixture
def job_id(upload):
    return upload().job_id


def claim(sessions, job_id, lease_s=60.0):
    return in_transaction(sessions, lambda session: claim_job(session, job_id, lease_s=lease_s))


def read(sessions, job_id):
    with sessions() as session:
        job = get_job(session, job_id)
        return job, session.get_one(Video, job.subject_id)


def test_a_claimed_job_runs_and_its_video_is_being_processed(sessions, job_id):
    job = claim(sessions, job_id)

    assert (job.state, job.fence, job.attempts) == (JobState.RUNNING, 1, 1)
    assert read(sessions, job_id)[1].state is VideoState.PROCESSING


def test_a_claimed_job_is_not_claimed_again(sessions, job_id):
    claim(sessions, job_id)
    assert claim(sessions, job_id) is None


def test_an_unknown_job_is_nothing_to_do(sessions, generation):
    assert generation is not None
    assert claim(sessions, uuid4()) is None
    with sessions() as session, pytest.raises(NotFoundError):
        get_job(session, uuid4())


def test_of_many_claimers_one_wins(sessions, job_id):
    start = threading.Barrier(6)
    claims = []

    def race():
        start.wait()
        claims.append(claim(sessions, job_id))

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(job is not None for job in claims) == 1
    assert len(claims) == 6


def test_a_job_with_a_lease_that_is_over_is_claimed_with_the_next_fence(sessions, job_id):
    claim(sessions, job_id, lease_s=-1)
    job = claim(sessions, job_id)
    assert (job.fence, job.attempts) == (2, 2)


def test_a_renewed_lease_keeps_the_job(sessions, job_id):
    claim(sessions, job_id, lease_s=-1)
    with sessions.begin() as session:
        assert renew_lease(session, job_id, 1, lease_s=60, progress=0.5, stage="decode")
    assert claim(sessions, job_id) is None
    job, _video = read(sessions, job_id)
    assert (job.progress, job.stage) == (0.5, "decode")


def test_a_lost_lease_is_not_renewed(sessions, job_id):
    claim(sessions, job_id, lease_s=-1)
    claim(sessions, job_id)
    with sessions.begin() as session:
        assert not renew_lease(session, job_id, 1, lease_s=60)
        assert renew_lease(session, job_id, 2, lease_s=60)


@pytest.mark.parametrize("close", [fail_job, requeue_job])
def test_who_lost_the_job_cannot_close_it(sessions, job_id, close):
    claim(sessions, job_id, lease_s=-1)
    claim(sessions, job_id)
    with sessions.begin() as session, pytest.raises(LostLeaseError):
        close(session, job_id, 1, reason="x", detail="y")


def test_a_failed_job_fails_its_video_and_says_why(sessions, job_id):
    claim(sessions, job_id)
    with sessions.begin() as session:
        fail_job(session, job_id, 1, reason="no_frames", detail="Nothing could be decoded.")

    job, video = read(sessions, job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "no_frames")
    assert job.finished_at is not None
    assert (video.state, video.reason) == (VideoState.FAILED, "no_frames")
    assert claim(sessions, job_id) is None


def test_a_job_that_is_given_back_fails_for_good_at_the_third_attempt(sessions, job_id):
    states = []
    for _attempt in range(3):
        fence = claim(sessions, job_id).fence
        with sessions.begin() as session:
            states.append(requeue_job(session, job_id, fence, reason="oom", detail="No memory."))

    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.FAILED]
    assert read(sessions, job_id)[1].state is VideoState.FAILED


def test_a_released_job_keeps_its_attempts(sessions, job_id):
    for _round in range(5):
        fence = claim(sessions, job_id).fence
        with sessions.begin() as session:
            release_job(session, job_id, fence)
    job, video = read(sessions, job_id)
    assert (job.state, job.attempts, job.fence) == (JobState.QUEUED, 0, 5)
    assert video.state is VideoState.QUEUED


def test_a_job_that_kills_its_workers_is_given_up(sessions, upload):
    poison, good = upload().job_id, upload().job_id
    for _attempt in range(3):
        claim(sessions, poison, lease_s=-1)
    claim(sessions, good, lease_s=-1)

    assert claim(sessions, poison) is None
    with sessions.begin() as session:
        assert [job.id for job in fail_poisoned_jobs(session)] == [poison]

    job, video = read(sessions, poison)
    assert (job.state, job.reason) == (JobState.FAILED, job_queries.WORKER_LOST)
    assert video.state is VideoState.FAILED
    assert claim(sessions, good) is not None


def test_a_job_that_waits_ends_when_fewer_attempts_are_allowed(sessions, job_id):
    job = claim(sessions, job_id)
    with sessions.begin() as session:
        requeue_job(session, job_id, job.fence, reason="broken", detail="It broke.")

    with sessions.begin() as session:
        assert [one.id for one in fail_poisoned_jobs(session, max_attempts=1)] == [job_id]

    job, video = read(sessions, job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "broken")
    assert video.state is VideoState.FAILED


def due(sessions, **options):
    with sessions() as session:
        return [job.id for job in due_jobs(session, **options)]


def test_a_job_whose_message_was_lost_is_due_but_not_at_once(sessions, job_id):
    assert due(sessions) == []
    assert due(sessions, first_after_s=-1) == [job_id]


def test_a_job_that_was_sent_again_is_not_due_for_a_while(sessions, job_id):
    with sessions.begin() as session:
        mark_sent(session, [job_id])
    assert due(sessions, first_after_s=-1) == []
    assert due(sessions, again_after_s=-1) == [job_id]


def test_a_job_of_a_lost_worker_is_due(sessions, job_id):
    with sessions.begin() as session:
        mark_sent(session, [job_id])
    claim(sessions, job_id, lease_s=0.001)
    assert due(sessions) == [job_id]


def test_a_lease_from_before_the_clock_was_set_back_is_over(sessions, job_id):
    first = claim(sessions, job_id)
    set_ahead(sessions, job_id, "lease_until")

    assert due(sessions, first_after_s=-1) == [job_id]
    assert claim(sessions, job_id).fence == first.fence + 1


@pytest.mark.parametrize("column", ["created_at", "sent_at"])
def test_a_job_from_before_the_clock_was_set_back_is_sent_again(sessions, job_id, column):
    set_ahead(sessions, job_id, column)

    assert due(sessions) == [job_id]


def set_ahead(sessions, job_id, column):
    """Let a time lie an hour ahead, as if the clock had been set back since."""
    with sessions.begin() as session:
        setattr(session.get_one(Job, job_id), column, utc_now() + timedelta(hours=1))


def test_a_running_job_is_not_due(sessions, job_id):
    claim(sessions, job_id)
    assert due(sessions, first_after_s=-1) == []


def test_only_the_oldest_jobs_of_a_long_queue_are_sent_again(sessions, upload):
    jobs = [upload().job_id for _ in range(5)]
    assert due(sessions, first_after_s=-1, limit=3) == jobs[:3]


def test_jobs_of_one_kind_hide_none_of_another(sessions, upload):
    with sessions.begin() as session:  # older, and they wait for each other for hours
        session.add_all(Job(kind=JobKind.TUNE, subject_id=uuid4(), version=1) for _ in range(3))
    upload_job = upload().job_id

    assert upload_job in due(sessions, first_after_s=-1, limit=3)
