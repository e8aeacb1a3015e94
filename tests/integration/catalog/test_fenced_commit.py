"""An ingest becomes visible in one transaction, or not at all."""

import threading
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import func, select

from service import videos
from service.catalog.activation_tables import GenerationVideo
from service.catalog.change_queries import read_changes, read_counter
from service.catalog.index_queries import (
    SegmentKey,
    VideoFilter,
    filter_video_ids,
    read_embeddings,
    segments_of,
)
from service.catalog.ingest_queries import commit_ingest
from service.catalog.job_queries import LostLeaseError, claim_job, fail_job
from service.catalog.live_queries import live_segments
from service.catalog.session import in_transaction
from service.catalog.tables import ChangeOp, Embedding, Job, JobState, Segment, VideoState
from service.errors import NotFoundError
from tests.factories import Facts, derive, ingest, unit_vectors


def claim(sessions, job_id, lease_s=60.0):
    return in_transaction(sessions, lambda session: claim_job(session, job_id, lease_s=lease_s))


def commit(sessions, storage, job, **options):
    ingested = derive(storage, job.subject_id, job.id, job.fence, **options)
    return in_transaction(
        sessions, lambda session: commit_ingest(session, job.id, job.fence, ingested)
    )


def count(sessions, table):
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_a_committed_ingest_is_searchable_and_announced(
    sessions, storage, upload, generation, read_sessions
):
    accepted = upload(tags=("sea",))
    seq = ingest(sessions, storage, accepted.job_id, count=3, report={"frames_wanted": 12})

    with read_sessions() as session:
        record = videos.read_video(session, accepted.video_id)
        assert record.video.state is VideoState.READY
        assert (record.video.num_segments, record.percent) == (3, 100.0)
        assert record.video.decode_report == {"frames_wanted": 12}
        assert record.job.state is JobState.DONE
        change = read_changes(session, seq - 1)[0]
        assert (change.op, change.video_id) == (ChangeOp.UPSERT, accepted.video_id)
        assert change.generation_id == generation.generation_id
        rows = list(read_embeddings(session, generation.generation_id))
        stored = np.stack([np.frombuffer(row.vector, dtype="<f2") for row in rows])
        assert np.allclose(stored, unit_vectors(3), atol=1e-3)
        assert filter_video_ids(session, VideoFilter(tags=["sea"])) == {accepted.video_id}


def test_a_damaged_video_is_partial_and_says_why(sessions, storage, upload):
    accepted = upload()
    facts = Facts(duration_s=5.0, codec="hevc")
    ingest(
        sessions,
        storage,
        accepted.job_id,
        is_partial=True,
        reason="truncated",
        detail="The file ends early.",
        facts=facts,
    )
    with sessions() as session:
        video = videos.read_video(session, accepted.video_id).video
    assert (video.state, video.reason) == (VideoState.PARTIAL, "truncated")
    assert (video.codec, video.duration_s) == ("hevc", 5.0)


def test_segments_carry_what_is_shown_and_where_their_clip_lies(sessions, storage, upload):
    accepted = upload(title="Harbour")
    ingest(sessions, storage, accepted.job_id, count=3)
    with sessions() as session:
        keys = [SegmentKey(accepted.video_id, ordinal) for ordinal in (9, 2)]
        missing, segment = live_segments(session, keys)
        assert missing is None
        assert segments_of(session, accepted.video_id)[2] == segment

    assert (segment.title, segment.start_s, segment.end_s) == ("Harbour", 8.0, 12.0)
    clip = storage.read_clip(segment.derived, segment.position)
    assert clip.shape == (2, 4, 4, 3)
    assert clip.max() == 2
    thumbnail = storage.read_thumbnail(
        segment.derived, segment.thumbnail_offset, segment.thumbnail_bytes
    )
    assert thumbnail == b"jpeg2"


def test_clips_that_were_decoded_for_a_generation_are_read_by_its_searches_alone(
    sessions, storage, upload, generation
):
    accepted = upload()
    ingest(sessions, storage, accepted.job_id)
    own = f"derived/{accepted.video_id}/{uuid4()}-1"
    with sessions.begin() as session:
        session.merge(
            GenerationVideo(
                generation_id=generation.generation_id,
                video_id=accepted.video_id,
                video_version=1,
                num_segments=2,
                derived=own,
            )
        )
    key = SegmentKey(accepted.video_id, 0)
    with sessions() as session:
        (of_generation,) = live_segments(session, [key], generation.generation_id)
        (of_video,) = live_segments(session, [key])
        (of_another,) = live_segments(session, [key], uuid4())
    assert of_generation.derived == own
    assert of_video == of_another == of_generation._replace(derived=of_video.derived)
    assert storage.read_clip(of_video.derived, 0).shape == (2, 4, 4, 3)


def test_a_worker_that_lost_its_lease_commits_nothing(sessions, storage, upload):
    job_id = upload().job_id
    zombie = claim(sessions, job_id, lease_s=-1)
    heir = claim(sessions, job_id)

    with pytest.raises(LostLeaseError):
        commit(sessions, storage, zombie)
    assert count(sessions, Embedding) == 0
    commit(sessions, storage, heir)
    assert count(sessions, Embedding) == 2


def test_a_commit_that_is_repeated_is_refused_and_changes_nothing(sessions, storage, upload):
    job = claim(sessions, upload().job_id)
    commit(sessions, storage, job)
    with pytest.raises(LostLeaseError):
        commit(sessions, storage, job)
    assert (count(sessions, Embedding), count(sessions, Segment)) == (2, 2)


def test_a_deleted_video_is_not_brought_back_by_its_worker(sessions, storage, upload):
    accepted = upload()
    job = claim(sessions, accepted.job_id)
    videos.delete_video(sessions, accepted.video_id)

    with pytest.raises(LostLeaseError):
        commit(sessions, storage, job)
    assert count(sessions, Embedding) == 0
    with sessions() as session:
        assert session.get_one(Job, accepted.job_id).state is JobState.CANCELLED


def test_a_delete_takes_everything_away_at_once(sessions, storage, upload, generation):
    accepted = upload()
    ingest(sessions, storage, accepted.job_id)
    seq = videos.delete_video(sessions, accepted.video_id)

    assert (count(sessions, Embedding), count(sessions, Segment)) == (0, 0)
    with sessions() as session:
        assert live_segments(session, [SegmentKey(accepted.video_id, 0)]) == [None]
        assert list(read_embeddings(session, generation.generation_id)) == []
        assert filter_video_ids(session, VideoFilter()) == set()
        assert read_changes(session, seq - 1)[0].op is ChangeOp.DELETE
        with pytest.raises(NotFoundError):
            videos.read_video(session, accepted.video_id)
    with pytest.raises(NotFoundError):
        videos.delete_video(sessions, accepted.video_id)


@pytest.mark.parametrize(
    "vectors",
    [unit_vectors(3), 2 * unit_vectors(2), np.full((2, 8), np.nan), np.ones(2)],
    ids=["too many", "not unit", "not finite", "no matrix"],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_embeddings_that_cannot_be_right_are_refused(sessions, storage, upload, vectors):
    job = claim(sessions, upload().job_id)
    with pytest.raises(ValueError, match="embedding"):
        commit(sessions, storage, job, vectors=vectors)


def test_a_failure_that_comes_after_a_delete_changes_nothing(sessions, upload):
    accepted = upload()
    job = claim(sessions, accepted.job_id)
    videos.delete_video(sessions, accepted.video_id)
    with sessions.begin() as session, pytest.raises(LostLeaseError):
        fail_job(session, job.id, job.fence, reason="x", detail="y")


def test_deletes_and_commits_at_the_same_time_leave_no_embedding_of_a_deleted_video(
    sessions, storage, upload
):
    accepted = [upload() for _ in range(8)]
    jobs = [claim(sessions, each.job_id) for each in accepted]
    outcomes = []

    def commit_one(job):
        try:
            commit(sessions, storage, job)
            outcomes.append("committed")
        except LostLeaseError:
            outcomes.append("lost")

    threads = [threading.Thread(target=commit_one, args=(job,)) for job in jobs] + [
        threading.Thread(target=videos.delete_video, args=(sessions, each.video_id))
        for each in accepted
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(outcomes) == 8
    assert count(sessions, Embedding) == 0
    with sessions() as session:
        deletes = [change for change in read_changes(session, 0) if change.op is ChangeOp.DELETE]
        assert len(deletes) == 8
        assert read_counter(session).seq == 1 + 8 + outcomes.count("committed")
