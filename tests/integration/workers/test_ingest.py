"""ingest() inside run_job(): real decoding, a real network, both databases."""

import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from sqlalchemy import update

from service.catalog import audit
from service.catalog.ingest_queries import delete_video
from service.catalog.session import in_transaction
from service.catalog.tables import Change, Embedding, Job, JobState, Segment, VideoState
from tests.factories_ingest import DEADLINE_S, count_segments, get_job, get_video, wait_for
from workers.ingest import ingest
from workers.resources import Resources
from workers.runner import run_job


def assert_consistent(sessions, storage):
    with sessions() as session:
        assert audit.audit(session, storage, grace_s=3600) == []


def read_rows(sessions, video_id):
    with sessions() as session:
        segments = session.query(Segment).filter_by(video_id=video_id).order_by(Segment.ordinal)
        embeddings = session.query(Embedding).filter_by(video_id=video_id)
        return segments.all(), embeddings.order_by(Embedding.ordinal).all()


def test_an_uploaded_video_becomes_searchable(
    upload_file, make_video, resources, sessions, storage
):
    accepted = upload_file(make_video(duration_s=5.2))

    run_job(accepted.job_id, ingest, resources)

    video = get_video(sessions, accepted.video_id)
    assert (video.state, video.reason, video.num_segments) == (VideoState.READY, None, 5)
    job = get_job(sessions, accepted.job_id)
    assert (job.state, job.attempts, job.progress) == (JobState.DONE, 1, 1.0)
    segments, embeddings = read_rows(sessions, video.id)
    spans = [(segment.start_s, segment.end_s) for segment in segments]
    assert spans == [(0, 1), (1, 2), (2, 3), (3, 4), (4, pytest.approx(5.2, abs=0.11))]
    vectors = np.stack([np.frombuffer(row.vector, "<f2") for row in embeddings]).astype(float)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-2)
    assert_consistent(sessions, storage)


def test_the_stored_clips_give_the_stored_embeddings(
    *, upload_file, make_video, resources, sessions, storage, generation
):
    accepted = upload_file(make_video(duration_s=3))
    run_job(accepted.job_id, ingest, resources)

    video = get_video(sessions, accepted.video_id)
    segments, embeddings = read_rows(sessions, video.id)
    with resources.embedder(generation) as embedder:
        for segment, embedding in zip(segments, embeddings, strict=True):
            clip = storage.read_clip(video.derived, segment.position)
            again = embedder.embed(video.id, clip).result(DEADLINE_S)
            assert np.frombuffer(embedding.vector, "<f2") == pytest.approx(again, abs=2e-3)
            jpeg = storage.read_thumbnail(
                video.derived, segment.thumbnail_offset, segment.thumbnail_bytes
            )
            assert Image.open(io.BytesIO(jpeg)).size == (64, 48)


def test_delivering_a_job_twice_leaves_one_set_of_segments(
    upload_file, make_video, resources, sessions
):
    accepted = upload_file(make_video(duration_s=3))
    run_job(accepted.job_id, ingest, resources)
    before = [row.vector for row in read_rows(sessions, accepted.video_id)[1]]

    run_job(accepted.job_id, ingest, resources)

    segments, embeddings = read_rows(sessions, accepted.video_id)
    assert len(segments) == 3
    assert [row.vector for row in embeddings] == before
    with sessions() as session:
        assert session.query(Change).filter_by(video_id=accepted.video_id).count() == 1


def test_a_file_that_is_no_video_fails_with_a_reason_and_the_next_one_works(
    *, upload_file, make_video, resources, sessions, storage, tmp_path
):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"this is no video " * 100)
    refused, good = upload_file(bad), upload_file(make_video())

    run_job(refused.job_id, ingest, resources)
    run_job(good.job_id, ingest, resources)

    video, job = get_video(sessions, refused.video_id), get_job(sessions, refused.job_id)
    assert (video.state, video.reason) == (VideoState.FAILED, "not_a_video")
    assert (job.state, job.attempts, job.reason) == (JobState.FAILED, 1, "not_a_video")
    assert video.detail
    assert list(storage.staging.iterdir()) == []
    assert get_video(sessions, good.video_id).state is VideoState.READY
    assert_consistent(sessions, storage)


def test_a_truncated_video_is_partial_and_says_what_is_missing(
    upload_file, make_video, resources, sessions, tmp_path
):
    whole = make_video("whole.mkv", duration_s=8).read_bytes()
    cut_off = tmp_path / "cut.mkv"
    cut_off.write_bytes(whole[: len(whole) // 2])
    accepted = upload_file(cut_off)

    run_job(accepted.job_id, ingest, resources)

    video = get_video(sessions, accepted.video_id)
    assert video.state is VideoState.PARTIAL
    assert video.reason
    assert "could be decoded" in video.detail
    report = video.decode_report
    assert 0 < video.num_segments == report["segments_decoded"] < report["segments_wanted"]


def test_a_video_deleted_while_it_is_ingested_leaves_nothing(
    upload_file, make_video, settings, sessions, storage
):
    accepted = upload_file(make_video(duration_s=6))

    def delete(_pass):
        if get_video(sessions, accepted.video_id).state is VideoState.PROCESSING:
            in_transaction(sessions, lambda s: delete_video(s, accepted.video_id))

    with Resources(settings, on_pass=delete) as resources:
        run_job(accepted.job_id, ingest, resources)

    assert get_job(sessions, accepted.job_id).state is JobState.CANCELLED
    assert get_video(sessions, accepted.video_id).state is VideoState.DELETED
    assert count_segments(sessions, accepted.video_id) == 0
    assert_consistent(sessions, storage)


def test_clips_of_two_videos_share_forward_passes(
    upload_file, make_video, settings, sessions, generation
):
    seconds = 4 * settings.embed_batch  # longer than the clips of one video that may wait
    jobs = [
        upload_file(make_video(f"{name}.mp4", duration_s=seconds, size=size)).job_id
        for name, size in {"wide": (64, 48), "tall": (48, 64)}.items()
    ]
    passes = []
    both_wait = threading.Event()

    def record(embedded):
        both_wait.wait(DEADLINE_S)
        passes.append(embedded)

    with Resources(settings, on_pass=record) as resources:
        threads = [threading.Thread(target=run_job, args=(j, ingest, resources)) for j in jobs]
        with resources.embedder(generation) as embedder:
            for thread in threads:
                thread.start()
            most_of_one = 2 * settings.embed_batch + 1
            wait_for(lambda: embedder.depth > most_of_one)
            both_wait.set()
            for thread in threads:
                thread.join(DEADLINE_S)

    assert {get_job(sessions, job).state for job in jobs} == {JobState.DONE}
    assert sum(each.clips for each in passes) == 2 * seconds
    assert max(each.videos for each in passes) == 2


def test_an_embedding_that_is_not_finite_is_never_stored(
    upload_file, make_video, resources, sessions, generation
):
    accepted = upload_file(make_video(duration_s=2))
    with resources.embedder(generation) as embedder:
        for parameter in embedder.network.network.parameters():
            parameter.fill_(float("nan"))
        run_job(accepted.job_id, ingest, resources)

    job = get_job(sessions, accepted.job_id)
    assert (job.state, job.reason) == (JobState.QUEUED, "bad_embedding")
    assert count_segments(sessions, accepted.video_id) == 0


def test_a_job_waits_while_others_use_the_memory(
    upload_file, make_video, settings, sessions, generation
):
    assert generation
    accepted = upload_file(make_video(duration_s=2))
    refusals = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")] * 8

    def refuse(_embedded):
        if refusals:
            raise refusals.pop()

    with Resources(settings, on_pass=refuse) as resources:
        run_job(accepted.job_id, ingest, resources)
        job = get_job(sessions, accepted.job_id)
        assert (job.state, job.reason, job.attempts) == (JobState.QUEUED, "out_of_memory", 0)
        assert job.not_before is not None
        refusals.clear()
        in_transaction(sessions, lambda s: s.execute(update(Job).values(not_before=None)))
        run_job(accepted.job_id, ingest, resources)

    assert get_job(sessions, accepted.job_id).state is JobState.DONE
