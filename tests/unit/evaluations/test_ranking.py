"""Where right answers stand, and the figures made of it."""

from dataclasses import replace
from uuid import UUID, uuid4

import numpy as np
import pytest

from service.catalog.evaluation_tables import EvaluationRun
from service.catalog.index_queries import LiveSegment
from service.evaluations import Question, RightMoment
from service.index.faiss_index import FaissIndex, Hit, Keys, Slot
from service.search.moments import Candidate
from tests.factories import unit_vectors
from workers import ranking
from workers.evaluation_figures import Asking, Earlier, sum_up
from workers.ranking import Answered, Asked, Places, answer, deep_places, right_positions

VIDEOS = sorted((uuid4() for _ in range(6)), key=lambda one: one.bytes)
NUM_SEGMENTS = 5


@pytest.fixture
def index() -> FaissIndex:
    """Six videos of five segments."""
    keys = Keys.of(
        [Slot(video_id, 1, seq) for seq, video_id in enumerate(VIDEOS)],
        [(slot, ordinal) for slot in range(len(VIDEOS)) for ordinal in range(NUM_SEGMENTS)],
    )
    vectors = unit_vectors(len(VIDEOS) * NUM_SEGMENTS).astype(np.float16)
    return FaissIndex.build(vectors, keys, kind="flat_fp16")


def question(*moments, text="a red circle") -> Question:
    return Question(
        text=text,
        moments=tuple(
            RightMoment(video_id=video_id, start_s=start_s, end_s=end_s)
            for video_id, start_s, end_s in moments
        ),
        num_gone=0,
    )


def spans(*video_ids) -> ranking.SpansOf:
    return {
        video_id: [(n, 4.0 * n, 4.0 * (n + 1)) for n in range(NUM_SEGMENTS)]
        for video_id in video_ids
    }


def candidate(video_id: UUID, ordinal: int, place: int, log_odds: float | None = None) -> Candidate:
    return Candidate(
        hit=Hit(video_id, 1, 1, ordinal, 1 - place / 100),
        segment=LiveSegment(
            video_id, ordinal, 1, ordinal, 4.0 * ordinal, 4.0 * ordinal + 4, 0, 1, "d", "t", "f", 8
        ),
        place=place,
        log_odds=log_odds,
        rerank_score=log_odds,
    )


def asked(*keys, text="a red circle") -> Asked:
    return Asked(
        question=question((keys[0][0], None, None), text=text),
        positions=np.arange(len(keys)),
        segments=frozenset(keys),
    )


def test_right_segments_are_found_by_span(index):
    wanted = question((VIDEOS[2], 4.0, 9.0), (VIDEOS[4], 0.0, 1.0))

    found = right_positions(wanted, index.keys, spans(*VIDEOS))

    assert found.positions.tolist() == [11, 12, 20]
    assert found.segments == {(VIDEOS[2], 1), (VIDEOS[2], 2), (VIDEOS[4], 0)}
    assert found.videos == {VIDEOS[2], VIDEOS[4]}


def test_a_moment_that_is_not_indexed_is_said_to_be(index):
    elsewhere = uuid4()

    assert right_positions(question((elsewhere, None, None)), index.keys, spans(elsewhere)) is None
    assert right_positions(question((VIDEOS[0], 30.0, 40.0)), index.keys, spans(VIDEOS[0])) is None


def test_the_first_right_segment_and_the_first_right_video_count():
    first, second, third = VIDEOS[:3]
    found = [
        candidate(first, 0, 1),
        candidate(first, 1, 2),
        candidate(second, 0, 3),
        candidate(third, 0, 4),
        candidate(second, 3, 5),
    ]

    answered = answer(asked((second, 3)), found, None, None)

    assert answered.dual_stream == Places(moment=4, video=1)
    assert answered.reranked is None


def test_re_ranking_moves_the_right_one():
    found = [candidate(VIDEOS[n], 0, n + 1) for n in range(4)]

    def rerank(_text, candidates):
        scores = (-2.0, 0.0, 1.0)
        matched = [
            replace(one, log_odds=score, rerank_score=score)
            for one, score in zip(candidates, scores, strict=False)
        ]
        return [*matched, *candidates[len(matched) :]]

    places = {
        n: answer(asked((VIDEOS[n], 0)), found, rerank, None).reranked.moment for n in range(4)
    }

    assert places == {0: 2, 1: 1, 2: 0, 3: 3}


def test_what_no_search_shows_stands_below_all_that_it_shows():
    found = [candidate(VIDEOS[n], 0, n + 1) for n in range(4)]

    answered = answer(asked((VIDEOS[5], 0)), found, None, Places(moment=2, video=17))

    assert answered.dual_stream == Places(moment=4, video=17)


@pytest.mark.parametrize("rows_at_once", [3, 7, 1000])
def test_deep_places_are_those_of_a_full_sort(index, monkeypatch, rows_at_once):
    monkeypatch.setattr(ranking, "ROWS_AT_ONCE", rows_at_once)
    queries = unit_vectors(20, seed=1)
    right = [np.array([n, n + 1]) for n in range(20)]

    found = deep_places(index, queries, right)

    similarity = queries @ index.vectors().T
    for query, positions, places in zip(similarity, right, found, strict=True):
        order = np.argsort(-query).tolist()
        moment = min(order.index(position) for position in positions)
        shown = list(dict.fromkeys(index.keys.slots[order].tolist()))
        video = min(shown.index(slot) for slot in index.keys.slots[positions])
        assert places == Places(moment=moment, video=video)


def asking(answers: list[Answered], **counts) -> Asking:
    return Asking(
        asked=[one.asked for one in answers],
        **{
            "num_queries": len(answers) + 3,
            "num_gone": 1,
            "num_segments": 30,
            "num_videos": 6,
            "rerank_depth": 16,
            **counts,
        },
    )


def answers_at(*moments: int) -> list[Answered]:
    return [
        Answered(
            asked=asked((VIDEOS[n % 6], 0), text=f"text {n}"),
            dual_stream=Places(moment=moment, video=moment // 2),
            reranked=None,
        )
        for n, moment in enumerate(moments)
    ]


def test_figures_are_those_of_the_papers():
    answered = answers_at(0, 4, 20)

    figures = sum_up(asking(answered), answered, None).figures

    assert (figures["queries"], figures["measured"]) == (6, 3)
    assert (figures["gone"], figures["not_indexed"]) == (1, 2)
    by_moment, by_video = figures["streams"]
    assert (by_moment["stream"], by_moment["target"]) == ("dual_stream", "moment")
    assert by_moment["R@1"] == pytest.approx(33.33)
    assert by_moment["R@5"] == pytest.approx(66.67)
    assert by_moment["MdR"] == 5
    assert by_moment["nDCG@10"] == pytest.approx(100 * (1 + 1 / np.log2(6)) / 3, abs=0.01)
    assert by_video["MdR"] == 3
    assert by_moment["intervals"]["R@1"][0] <= 33.33 <= by_moment["intervals"]["R@1"][1]


def test_a_run_is_compared_with_the_one_before_on_queries_of_both():
    then, now = answers_at(9, 9, 0), answers_at(0, 0)
    before = EvaluationRun(id=uuid4(), answers=sum_up(asking(then), then, None).answers)

    change = sum_up(asking(now), now, Earlier.of(before)).figures["change"]

    assert (change["since"], change["measured"]) == (str(before.id), 2)
    assert change["streams"][0]["R@1"] == {"by": 100.0, "low": 100.0, "high": 100.0}
    assert change["streams"][0]["MdR"]["by"] == -9


def test_runs_with_no_query_in_common_are_not_compared():
    now = answers_at(0)

    change = sum_up(asking(now), now, Earlier(run_id=uuid4(), ranks={})).figures["change"]

    assert change is None
