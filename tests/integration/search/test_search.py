"""Search from text to moments, over a real index, database and files."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from model.retrieval import sigmoid
from service.catalog.change_queries import read_counter
from service.catalog.index_queries import VideoFilter
from service.encoder import ClipKey
from service.errors import InvalidInputError, UnavailableError
from tests.factories_gallery import like, until

TEXT = "a red circle"


@pytest.fixture
def query(encoder):
    """The embedding of the text that is searched for."""
    return encoder.embed_text(TEXT)


@pytest.fixture
def add(gallery, query):
    """Add a video whose segments have given similarities to the text: `add(0.9, 0.2)`."""

    def add(*similarities, **options):
        vectors = [like(query, value, seed=n) for n, value in enumerate(similarities)]
        return gallery.add(vectors, **options)

    return add


def ids(answer):
    return [moment.video_id for moment in answer.moments]


def test_an_empty_gallery_has_no_moments(make_replica, ask):
    answer = ask(make_replica())
    assert (answer.moments, answer.next_cursor, answer.degraded) == ([], None, False)


def test_moments_come_best_first_with_all_that_is_shown(make_replica, add, ask, gallery):
    worse, best = add(0.3, title="worse"), add(0.1, 0.8, title="best")
    answer = ask(make_replica())
    assert ids(answer) == [best, worse, best]
    first = answer.moments[0]
    assert (first.title, first.start_s, first.end_s) == ("best", 4.0, 8.0)
    assert first.similarity == pytest.approx(0.8, abs=0.01)
    assert first.match_probability is None
    assert [moment.rank for moment in answer.moments] == [1, 2, 3]
    assert [moment.retrieval_rank for moment in answer.moments] == [1, 2, 3]
    assert answer.receipt.generation_id == gallery.generation.generation_id
    assert answer.receipt.model_version_id == gallery.generation.model_version_id
    assert (answer.receipt.candidates, answer.receipt.reranked) == (3, 0)


def test_fewer_moments_than_the_limit_is_fine_and_more_are_cut(make_replica, add, ask):
    for place in range(4):
        add(0.1 + 0.2 * place)
    replica = make_replica()
    assert len(ask(replica, limit=100).moments) == 4
    assert len(ask(replica, limit=3).moments) == 3


def test_adjoining_segments_are_one_moment(make_replica, add, ask):
    add(0.1, 0.80, 0.78, 0.1)
    first = ask(make_replica()).moments[0]
    assert (first.segments, first.start_s, first.end_s) == ((1, 2), 4.0, 12.0)


def test_grouping_by_video_shows_each_video_once(make_replica, add, ask):
    one, two = add(0.9, 0.1, 0.8), add(0.5, 0.1, 0.4)
    assert ids(ask(make_replica(), group_by="video")) == [one, two]


def test_the_best_candidates_are_ranked_by_the_fused_pass(make_replica, add, ask):
    for place in range(6):
        add(0.9 - 0.1 * place, has_clips=True)
    replica = make_replica()
    answer = ask(replica, rerank_depth=4)
    probabilities = [moment.match_probability for moment in answer.moments]
    assert probabilities[:4] == sorted(probabilities[:4], reverse=True)
    assert probabilities[4:] == [None, None]
    assert {moment.retrieval_rank for moment in answer.moments[:4]} == {1, 2, 3, 4}
    assert [moment.retrieval_rank for moment in answer.moments[4:]] == [5, 6]
    assert (answer.receipt.reranked, answer.degraded) == (4, False)


def test_a_model_may_count_the_similarity_beside_the_match(make_replica, add, ask, monkeypatch):
    for place in range(4):
        add(0.9 - 0.2 * place, has_clips=True)
    replica = make_replica()
    spec = replace(replica.serving().encoder.spec, similarity_weight=1000.0)
    monkeypatch.setattr(replica.serving().encoder, "spec", spec)
    answer = ask(replica, rerank_depth=4)
    assert [moment.retrieval_rank for moment in answer.moments] == [1, 2, 3, 4]
    assert None not in [moment.match_probability for moment in answer.moments]


def test_match_probabilities_are_those_of_the_stored_clips(
    make_replica, add, ask, encoder, gallery
):
    video_id = add(0.9, 0.1, has_clips=True)
    answer = ask(make_replica(), rerank_depth=1)
    (best, other) = answer.moments
    assert (other.match_probability, answer.confidence) == (None, "unknown")
    folder = next((gallery.storage.root / "derived" / str(video_id)).iterdir())
    clip = gallery.storage.read_clip(f"derived/{video_id}/{folder.name}", best.segments[0])
    (expected,) = encoder.match(TEXT, [(ClipKey(uuid4(), 1, 0), clip)], time.monotonic() + 60)
    assert best.match_probability == pytest.approx(sigmoid(expected), abs=0.01)


def test_when_the_time_is_over_the_answer_says_degraded(make_replica, add, ask):
    best, worse = add(0.9, has_clips=True), add(0.5, has_clips=True)
    answer = ask(make_replica(), rerank_depth=2, deadline_ms=0)
    assert answer.degraded
    assert ids(answer) == [best, worse]
    assert [moment.match_probability for moment in answer.moments] == [None, None]


def test_a_clip_that_is_gone_does_not_stop_the_answer(make_replica, add, ask):
    without, with_clip = add(0.9), add(0.5, has_clips=True)
    answer = ask(make_replica(), rerank_depth=2)
    assert answer.degraded
    assert ids(answer) == [with_clip, without]


def test_a_deleted_video_is_not_shown_though_the_replica_lags(
    make_replica, add, ask, gallery, *, settings, query
):
    gone, stays = add(0.9), add(0.5)
    lagging = make_replica(settings=settings.model_copy(update={"replica_poll_ms": 60_000}))
    gallery.delete(gone)
    assert gone in {hit.video_id for hit in lagging.view().search(query, 10)}
    assert ids(ask(lagging)) == [stays]


@pytest.mark.usefixtures("patience")
def test_what_was_uploaded_is_found_by_min_seq(make_replica, add, ask, settings, sessions):
    replica = make_replica(settings=settings.model_copy(update={"replica_poll_ms": 1000}))
    late = add(0.9)
    with sessions() as session:
        seq = read_counter(session).seq
    assert ids(ask(replica, min_seq=seq)) == [late]


def test_a_replica_that_stays_behind_is_not_asked(make_replica, add, ask):
    add(0.9)
    with pytest.raises(UnavailableError) as refused:
        ask(make_replica(), min_seq=1_000)
    assert refused.value.retry_after_s


@pytest.mark.parametrize("text", ["", " ", "x" * 501, "a\x00b"])
def test_text_that_means_nothing_is_refused(make_replica, ask, text):
    with pytest.raises(InvalidInputError):
        ask(make_replica(), text)


def day(number):
    return datetime(2026, 1, number, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (VideoFilter(tags=["a"]), {"one", "two"}),
        (VideoFilter(tags=["a", "b"]), {"two"}),
        (VideoFilter(tags=["nobody has it"]), set()),
        (VideoFilter(created_after=day(2)), {"two", "three"}),
        (VideoFilter(created_before=day(2)), {"one"}),
        (VideoFilter(created_after=day(2), created_before=day(3)), {"two"}),
        (VideoFilter(min_duration_s=20), {"two", "three"}),
        (VideoFilter(max_duration_s=20), {"one", "two"}),
        (VideoFilter(tags=["a"], min_duration_s=15), {"two"}),
        (VideoFilter(video_ids=[]), set()),
        (VideoFilter(video_ids=[uuid4()]), set()),
    ],
)
def test_filters(make_replica, add, ask, wanted, expected):
    add(0.2, title="one", tags=["a"], created_at=day(1), duration_s=10)
    add(0.3, title="two", tags=["a", "b"], created_at=day(2), duration_s=20)
    add(0.4, title="three", created_at=day(3), duration_s=30)
    answer = ask(make_replica(), filter=wanted)
    assert {moment.title for moment in answer.moments} == expected


def test_a_filter_costs_no_recall(make_replica, add, ask):
    for _ in range(30):
        add(0.9)
    hidden = add(0.1)
    answer = ask(make_replica(), candidates=5, limit=5, filter=VideoFilter(video_ids=[hidden]))
    assert ids(answer) == [hidden]


def test_concurrent_searches_share_forward_passes(make_replica, add, ask):
    for _ in range(8):
        add(0.5, has_clips=True)
    replica = make_replica()
    encoder = replica.serving().encoder
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: ask(replica, f"{n} dogs", rerank_depth=4), range(12)))
    assert all(answer.receipt.reranked == 4 for answer in answers)
    assert encoder.num_passes < 24  # one text and one match pass each, if they did not share


def test_searches_go_on_while_videos_come_and_go(make_replica, add, ask, gallery):
    stays = add(0.9)
    replica = make_replica()
    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(ask, replica) for _ in range(30)]
        for _ in range(5):
            gallery.delete(add(0.8))
        answers = [search.result() for search in searches]
    assert all(stays in ids(answer) for answer in answers)
    until(lambda: ids(ask(replica)) == [stays], what="the end of the changes")


def test_timings_name_every_stage_and_add_up(make_replica, add, ask):
    add(0.9, has_clips=True)
    timings = dict(ask(make_replica(), rerank_depth=1).timings_ms)
    total = timings.pop("total")
    assert set(timings) == {"wait", "embed", "faiss", "sql", "clips", "match", "other"}
    assert sum(timings.values()) == pytest.approx(total, abs=0.1)


def test_times_of_filters_need_no_particular_zone(make_replica, add, ask):
    found = add(0.5, created_at=day(2))
    zone_time = (day(2) - timedelta(minutes=1)).astimezone()
    answer = ask(make_replica(), filter=VideoFilter(created_after=zone_time))
    assert ids(answer) == [found]
