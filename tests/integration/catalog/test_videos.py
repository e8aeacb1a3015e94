"""Videos are listed in pages that do not shift, read, changed and deleted."""

from uuid import uuid4

import pytest
from sqlalchemy import event

from service import videos
from service.catalog.index_queries import VideoFilter, filter_video_ids
from service.catalog.job_queries import claim_job, renew_lease
from service.catalog.session import in_transaction
from service.catalog.tables import VideoState
from service.errors import BadRequestError, InvalidInputError, NotFoundError
from service.videos import VideoPatch
from tests.factories import Facts, ingest

SECRET = b"s" * 32


def list_ids(sessions, **options):
    with sessions() as session:
        page = videos.list_videos(session, secret=SECRET, **options)
    return [record.video.id for record in page.videos], page.next_cursor


def test_the_newest_video_comes_first(sessions, upload):
    uploaded = [upload().video_id for _ in range(3)]
    assert list_ids(sessions) == (uploaded[::-1], None)


def test_pages_neither_repeat_nor_hide_a_video_when_others_come_and_go(sessions, upload):
    uploaded = [upload().video_id for _ in range(6)]
    first, cursor = list_ids(sessions, limit=2)
    upload()
    videos.delete_video(sessions, uploaded[5])
    second, cursor = list_ids(sessions, limit=2, cursor=cursor)
    third, cursor = list_ids(sessions, limit=2, cursor=cursor)

    assert first + second + third == uploaded[::-1]
    assert cursor is None


def test_a_list_is_limited_to_states_and_tags(sessions, storage, upload):
    ready = upload(tags=("sea", "sun")).video_id
    queued = upload(tags=("sea",)).video_id
    with sessions() as session:
        job_id = videos.read_video(session, ready).job.id
    ingest(sessions, storage, job_id)

    assert list_ids(sessions, states=[VideoState.READY])[0] == [ready]
    assert list_ids(sessions, tags=["sea"])[0] == [queued, ready]
    assert list_ids(sessions, tags=["sea", "sun"])[0] == [ready]
    assert list_ids(sessions, tags=["snow"])[0] == []


def test_a_cursor_of_other_filters_is_refused(sessions, upload):
    for _ in range(2):
        upload(tags=("sea",))
    _page, cursor = list_ids(sessions, limit=1, tags=["sea"])
    with pytest.raises(BadRequestError):
        list_ids(sessions, limit=1, cursor=cursor)
    with pytest.raises(BadRequestError):
        list_ids(sessions, cursor="nonsense")


@pytest.mark.parametrize("limit", [0, -1, 201])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_page_of_an_impossible_size_is_refused(sessions, limit):
    with pytest.raises(InvalidInputError):
        list_ids(sessions, limit=limit)


def test_a_page_takes_the_same_number_of_statements_whatever_its_length(sessions, engine, upload):
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    lengths = []
    for _ in range(2):
        for _ in range(4):
            upload(tags=("a", "b"))
        statements.clear()
        list_ids(sessions)
        lengths.append(len([each for each in statements if each.startswith("SELECT")]))
    assert lengths == [3, 3]


def test_a_running_video_says_how_far_it_is(sessions, upload):
    accepted = upload()

    def work(session):
        job = claim_job(session, accepted.job_id, lease_s=60)
        renew_lease(session, job.id, job.fence, lease_s=60, progress=0.25, stage="decode")

    in_transaction(sessions, work)
    with sessions() as session:
        record = videos.read_video(session, accepted.video_id)
    assert record.video.state is VideoState.PROCESSING
    assert (record.percent, record.job.stage) == (25.0, "decode")


def test_what_is_said_about_a_video_can_be_changed(sessions, upload):
    video_id = upload(title="Old", tags=("a",), fields={"place": "here"}).video_id
    changed = videos.patch_video(
        sessions, video_id, VideoPatch(title=" New ", tags=["c", "b", "c"])
    )
    assert (changed.video.title, changed.tags) == ("New", ("b", "c"))
    assert changed.video.fields == {"place": "here"}

    videos.patch_video(sessions, video_id, VideoPatch(tags=[], fields={}))
    with sessions() as session:
        record = videos.read_video(session, video_id)
    assert (record.tags, record.video.fields, record.video.title) == ((), {}, "New")


@pytest.mark.parametrize(
    "patch",
    [VideoPatch(title=" "), VideoPatch(tags=["x" * 101]), VideoPatch(fields={"a": float("nan")})],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_value_that_is_not_allowed_changes_nothing(sessions, upload, patch):
    video_id = upload(title="Old").video_id
    with pytest.raises(InvalidInputError):
        videos.patch_video(sessions, video_id, patch)
    with sessions() as session:
        assert videos.read_video(session, video_id).video.title == "Old"


def test_a_video_that_is_not_there_cannot_be_changed(sessions, upload):
    with pytest.raises(NotFoundError):
        videos.patch_video(sessions, uuid4(), VideoPatch(title="x"))
    gone = upload().video_id
    videos.delete_video(sessions, gone)
    with pytest.raises(NotFoundError):
        videos.patch_video(sessions, gone, VideoPatch(title="x"))
    assert list_ids(sessions)[0] == []


def test_filters_of_a_search_keep_the_videos_that_pass(sessions, storage, upload):
    short = upload(tags=("sea",), facts=Facts(duration_s=5.0))
    long = upload(tags=("sea", "sun"), facts=Facts(duration_s=500.0))
    upload(tags=("sea",))  # not searchable yet
    for accepted in (short, long):
        ingest(sessions, storage, accepted.job_id)
    with sessions() as session:
        when = videos.read_video(session, long.video_id).video.created_at

        def passing(**wanted):
            return filter_video_ids(session, VideoFilter(**wanted))

        assert passing() == {short.video_id, long.video_id}
        assert passing(tags=["sea", "sun"]) == {long.video_id}
        assert passing(max_duration_s=5) == {short.video_id}
        assert passing(min_duration_s=5.1) == {long.video_id}
        assert passing(created_after=when) == {long.video_id}
        assert passing(created_before=when) == {short.video_id}
        assert passing(video_ids=[short.video_id, uuid4()]) == {short.video_id}
        assert passing(video_ids=[]) == set()
    assert VideoFilter().is_empty
    assert not VideoFilter(video_ids=()).is_empty
