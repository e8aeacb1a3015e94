"""How much may be uploaded: per key and day, and altogether."""

import threading
from uuid import UUID

import pytest
from sqlalchemy import select, update

from service import access
from service.catalog.door_tables import ApiKey, Usage
from service.catalog.tables import Job, JobState, Video
from service.errors import StorageFullError, TooManyRequestsError, UnavailableError
from service.quotas import UPLOAD_BYTES_PER_DAY, Quotas, forget_old_usage

OWNER = "session:0123456789abcdef"


@pytest.fixture
def count(sessions):
    """Count an upload in a transaction of its own."""

    def count(quotas, num_bytes, *, owner=OWNER, **options):
        with sessions.begin() as session:
            quotas.count_upload(session, owner, num_bytes, **options)

    return count


@pytest.fixture
def check(read_sessions):
    """Look whether an upload would be refused."""

    def check(quotas, num_bytes, *, owner=OWNER):
        with read_sessions() as session:
            quotas.check_upload(session, owner, num_bytes)

    return check


def test_a_day_of_uploads_ends_at_the_limit_and_a_refused_one_counts_nothing(count, check):
    quotas = Quotas(upload_bytes_per_day=100)
    count(quotas, 60)
    check(quotas, 40)
    with pytest.raises(TooManyRequestsError) as refusal:
        check(quotas, 41)
    assert refusal.value.reason == "quota_upload_bytes"
    assert 1 <= refusal.value.retry_after_s <= 86400
    with pytest.raises(TooManyRequestsError):
        count(quotas, 41)

    count(quotas, 40)

    with pytest.raises(TooManyRequestsError):
        check(quotas, None)
    check(quotas, 100, owner="session:another")


def test_a_key_may_have_a_limit_of_its_own(sessions, count, check):
    quotas = Quotas(upload_bytes_per_day=100)
    key = access.make_key(sessions, name="camera", scopes=["write"]).key
    with sessions.begin() as session:
        limits = {UPLOAD_BYTES_PER_DAY: 500}
        session.execute(update(ApiKey).where(ApiKey.id == UUID(str(key.id))).values(limits=limits))

    count(quotas, 400, owner=str(key.id))

    with pytest.raises(TooManyRequestsError):
        check(quotas, 101, owner=str(key.id))


def test_uploads_at_once_do_not_pass_the_limit_together(sessions, count):
    quotas = Quotas(upload_bytes_per_day=50)
    refused = []

    def try_one():
        try:
            count(quotas, 10)
        except TooManyRequestsError:
            refused.append(1)

    threads = [threading.Thread(target=try_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 3
    with sessions() as session:
        assert session.scalar(select(Usage.amount)) == 50


def test_no_more_is_kept_than_may_be_but_what_is_there_may_come_again(upload, sessions, check):
    quotas = Quotas(stored_bytes=10, videos=2)
    upload(b"12345678", owner=OWNER, quotas=quotas)
    with pytest.raises(StorageFullError) as refusal:
        upload(b"123", owner=OWNER, quotas=quotas)
    assert refusal.value.reason == "quota_stored_bytes"
    assert upload(b"12345678", owner=OWNER, quotas=quotas).is_duplicate
    upload(b"12", owner=OWNER, quotas=quotas)

    with pytest.raises(StorageFullError):
        check(quotas, 1)
    with pytest.raises(StorageFullError) as refusal:
        upload(b"", owner=OWNER, quotas=Quotas(videos=2))
    assert refusal.value.reason == "quota_videos"
    with sessions() as session:
        assert len(session.scalars(select(Video)).all()) == 2


def test_counts_of_long_ago_are_forgotten_and_others_kept(sessions, count):
    count(Quotas(videos=9), 5)
    with sessions.begin() as session:
        session.add(Usage(owner=OWNER, kind="upload_bytes", window="2020-01-31", amount=3))
    with sessions.begin() as session:
        forget_old_usage(session)
    with sessions() as session:
        assert sorted(session.scalars(select(Usage.amount))) == [0, 5]


def test_a_full_queue_takes_no_new_video_but_known_ones(count, check, upload):
    quotas = Quotas(jobs_waiting=2)
    upload()
    check(quotas, 1)
    upload()
    with pytest.raises(UnavailableError) as refusal:
        check(quotas, 1)
    assert (refusal.value.reason, refusal.value.retry_after_s) == ("queue_full", 30)
    with pytest.raises(UnavailableError):
        count(quotas, 1)
    count(quotas, 1, is_new=False)


def test_a_queue_has_room_again_when_jobs_are_done(count, upload, sessions):
    first, _second = upload(), upload()
    with sessions.begin() as session:
        session.get_one(Job, first.job_id).state = JobState.DONE

    count(Quotas(jobs_waiting=2), 1)
