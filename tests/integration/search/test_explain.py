"""Why a video is found where it is, or is not: each reason, over a real index and database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import pytest

from model.all_in_one.retriever import AllInOneRetriever
from service.catalog.change_queries import read_counter
from service.catalog.index_queries import VideoFilter
from service.catalog.tables import VideoState
from service.errors import NotFoundError
from service.search import ClipStore, SearchRequest, explain
from service.search.reasons import Reason
from tests.factories_gallery import like, until
from tests.factories_generations import embed_in, promote

TEXT = "a red circle"


@pytest.fixture
def add(gallery, encoder):
    """Add a video whose segments have given similarities to the text: `add(0.9, 0.2)`."""
    query = encoder.embed_text(TEXT)

    def add(*similarities, **options):
        vectors = [like(query, value, seed=n) for n, value in enumerate(similarities)]
        return gallery.add(vectors, **options)

    return add


@pytest.fixture
def why(read_sessions, storage, settings, sessions):
    """Explain: `why(replica, video_id, rerank_depth=3)`; the replica has caught up."""
    clips = ClipStore(storage)

    def why(replica, video_id, *, start_s=None, is_awaited=True, **options):
        with sessions() as session:
            seq = read_counter(session).seq
        if is_awaited:
            until(lambda: replica.applied_seq >= seq, what="the replica")
        return explain(
            SearchRequest(text=TEXT, limit=1, **{"rerank_depth": 0, **options}),
            video_id=video_id,
            start_s=start_s,
            replica=replica,
            reads=read_sessions,
            clips=clips,
            settings=settings,
        )

    return why


def codes(explanation):
    return [one.reason for one in explanation.because]


def test_a_video_that_is_found_says_where(make_replica, add, why):
    best, second = add(0.9, 0.1), add(0.1, 0.7)
    replica = make_replica()
    told = why(replica, second)
    assert codes(told) == [Reason.FOUND]
    assert told.why == "It is shown as number 2."
    assert (told.best.hit.ordinal, told.standing.rank_by_similarity, told.standing.rank) == (
        1,
        2,
        2,
    )
    assert told.best.hit.similarity == pytest.approx(0.7, abs=0.01)
    assert told.is_indexed
    assert why(replica, best).standing.rank == 1


@pytest.mark.parametrize(
    ("columns", "code", "words"),
    [
        ({"state": VideoState.QUEUED}, Reason.QUEUED, "waits"),
        ({"state": VideoState.PROCESSING}, Reason.PROCESSING, "being processed (0 %)"),
        (
            {"state": VideoState.FAILED, "reason": "no_video_stream", "detail": "It has no video."},
            Reason.FAILED,
            "could not be processed. It has no video.",
        ),
    ],
)
def test_a_video_that_was_not_processed_says_how_far_it_is(
    make_replica, gallery, why, *, columns, code, words
):
    video_id = gallery.add(np.empty((0, gallery.spec.embedding_dim)), **columns)
    told = why(make_replica(), video_id)
    assert codes(told) == [code]
    assert words in told.why
    assert (told.best, told.standing, told.is_indexed) == (None, None, False)


def test_a_partial_video_is_found_as_far_as_it_goes(make_replica, add, why):
    told = why(make_replica(), add(0.9, state=VideoState.PARTIAL, detail="It ends early."))
    assert codes(told) == [Reason.PARTIAL, Reason.FOUND]
    assert "It ends early." in told.why


def test_unknown_and_deleted_videos_are_not_explained(make_replica, add, why, gallery):
    replica = make_replica()
    gone = add(0.9)
    gallery.delete(gone)
    for video_id in (gone, uuid4()):
        with pytest.raises(NotFoundError):
            why(replica, video_id)


def test_a_video_that_the_model_has_not_embedded_yet(
    make_replica, add, why, gallery, *, sessions, first, second
):
    both, first_only = add(0.5), add(0.9)
    embed_in(sessions, second, both, np.eye(1, gallery.spec.embedding_dim))
    replica = make_replica()
    until(lambda: replica.generation_ids == {first, second}, what="both generations")
    promote(sessions, second)
    until(lambda: replica.view().generation_id == second, what="the switch")
    told = why(replica, first_only)
    assert codes(told) == [Reason.NOT_IN_GENERATION]
    assert told.model_name == "other"
    assert not told.is_indexed


def test_a_video_that_this_process_has_not_heard_of(make_replica, add, why, settings):
    replica = make_replica(settings=settings.model_copy(update={"replica_poll_ms": 60_000}))
    told = why(replica, add(0.9), is_awaited=False)
    assert codes(told) == [Reason.INDEX_BEHIND]


def test_a_video_without_segments(make_replica, gallery, why):
    video_id = gallery.add(np.empty((0, gallery.spec.embedding_dim)))
    assert codes(why(make_replica(), video_id)) == [Reason.NO_SEGMENTS]


def test_each_condition_of_the_filter_is_checked(make_replica, add, why):
    video_id = add(0.9, 0.1, tags=["sea", "ship"])
    now = datetime.now(UTC)
    passes = VideoFilter(
        tags=["sea"],
        video_ids=[video_id],
        created_after=now - timedelta(hours=1),
        created_before=now + timedelta(hours=1),
        min_duration_s=8.0,
        max_duration_s=8.0,
    )
    fails = VideoFilter(
        tags=["sea", "storm"],
        video_ids=[uuid4()],
        created_after=now + timedelta(hours=1),
        created_before=now - timedelta(hours=1),
        min_duration_s=9.0,
        max_duration_s=7.0,
    )
    replica = make_replica()
    told = why(replica, video_id, filter=passes)
    assert codes(told) == [Reason.FOUND]
    assert [one.passes for one in told.filters] == [True] * 6
    told = why(replica, video_id, filter=fails)
    assert codes(told) == [Reason.FILTERED_OUT]
    assert [one.passes for one in told.filters] == [False] * 6
    assert "tags, video_ids, created_after, created_before" in told.why
    assert told.standing.rank_by_similarity == 1


def test_below_the_candidates_says_what_was_needed(make_replica, add, why):
    add(0.9, 0.8, 0.7)
    video_id = add(0.3, 0.2)
    add(0.5, 0.5)
    told = why(make_replica(), video_id, candidates=4)
    assert codes(told) == [Reason.BELOW_CANDIDATES]
    assert told.standing.rank_by_similarity == 6
    assert told.standing.similarity_needed == pytest.approx(0.5, abs=0.01)
    assert told.standing.rank is None
    assert "number 6 by similarity, and the index returns the first 4" in told.why


def test_a_segment_beyond_the_depth_is_not_reranked_but_matched_for_the_answer(
    make_replica, add, why
):
    add(0.9, has_clips=True)
    video_id = add(0.5, has_clips=True)
    told = why(make_replica(), video_id, rerank_depth=1)
    assert codes(told) == [Reason.NOT_RERANKED, Reason.FOUND]
    assert told.best.probability is not None


def test_reranking_up_and_down_is_said(make_replica, add, why):
    videos = [add(0.9 - 0.1 * place, has_clips=True) for place in range(5)]
    replica = make_replica()
    for place, video_id in enumerate(videos, start=1):
        told = why(replica, video_id, rerank_depth=5)
        rank = told.standing.rank
        moved = [Reason.RERANKED_UP] if rank < place else [Reason.RERANKED_DOWN]
        assert codes(told) == [*(moved if rank != place else []), Reason.FOUND]
        assert told.standing.rank_by_similarity == place


def test_frames_are_those_of_the_stored_clip_each_alone(make_replica, add, why, encoder, storage):
    video_id = add(0.9, 0.1, has_clips=True)
    told = why(make_replica(), video_id)
    count = encoder.spec.frames_per_clip
    assert [frame.position for frame in told.frames] == list(range(count))
    assert all(0.0 < frame.time_s < 4.0 for frame in told.frames)
    clip = storage.read_clip(told.best.segment.derived, 0)
    still = np.repeat(clip[-1:], count, axis=0)
    alone = encoder.frame_similarities(encoder.embed_text(TEXT), still)
    assert told.frames[-1].similarity == pytest.approx(alone[0], abs=1e-5)
    assert max(alone) == pytest.approx(min(alone), abs=1e-5)


def test_frames_that_memory_does_not_hold_at_once_are_embedded_one_by_one(encoder, monkeypatch):
    spec = encoder.spec
    shape = (spec.frames_per_clip, spec.frame_size, spec.frame_size, 3)
    clip = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    query = encoder.embed_text(TEXT)
    at_once = encoder.frame_similarities(query, clip)
    embed = AllInOneRetriever.embed_video

    def embed_little(model, clips):
        if len(clips) > 1:
            raise MemoryError
        return embed(model, clips)

    monkeypatch.setattr(AllInOneRetriever, "embed_video", embed_little)

    assert encoder.frame_similarities(query, clip) == pytest.approx(at_once, abs=1e-5)


def test_a_clip_that_is_gone_leaves_the_rest_of_the_explanation(make_replica, add, why):
    told = why(make_replica(), add(0.9), rerank_depth=3)
    assert codes(told) == [Reason.NOT_RERANKED, Reason.FOUND]
    assert list(told.frames) == []


def test_a_second_names_the_segment_that_is_asked_about(make_replica, add, why):
    video_id = add(0.9, 0.2, 0.85)
    replica = make_replica()
    assert why(replica, video_id, start_s=5.0).best.hit.ordinal == 1
    told = why(replica, video_id, start_s=99.0)
    assert codes(told) == [Reason.NO_SEGMENT_THERE]
    assert told.is_indexed


def test_a_segment_that_is_shown_with_a_better_one(make_replica, add, why):
    video_id = add(0.9, 0.88, 0.1)
    told = why(make_replica(), video_id, start_s=4.0)
    assert codes(told) == [Reason.JOINED, Reason.FOUND]
    assert told.standing.rank == 1


def test_a_moment_that_a_better_one_of_its_video_stands_for(make_replica, add, why):
    video_id = add(0.9, 0.1, 0.5)
    told = why(make_replica(), video_id, start_s=8.0, group_by="video")
    assert codes(told) == [Reason.GROUPED]
    assert told.standing.rank is None


def test_no_confident_match_hides_what_would_be_shown(make_replica, add, why, monkeypatch):
    video_id = add(0.9, has_clips=True)
    replica = make_replica()
    spec = replica.serving().encoder.spec
    unsure = replace(spec, is_calibrated=True, confident_probability=1.0)
    monkeypatch.setattr(replica.serving().encoder, "spec", unsure)
    told = why(replica, video_id, rerank_depth=3)
    assert codes(told) == [Reason.NO_CONFIDENT_MATCH]
    assert told.standing.rank is None
    shown = why(replica, video_id, rerank_depth=3, include_unsure=True)
    assert codes(shown) == [Reason.FOUND]
