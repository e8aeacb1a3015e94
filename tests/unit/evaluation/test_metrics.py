"""Ranks and figures, as the field counts them."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from model.metrics import Recall, contiguous_owners, rank_texts, rank_videos

MIB = 1024 * 1024
SCORES = np.array(
    [
        [0.9, 0.1, 0.3],  # text of video 0: first
        [0.8, 0.2, 0.5],  # of video 1: last
        [0.7, 0.6, 0.4],  # of video 2: last
    ]
)


@pytest.fixture(scope="module")
def parity(request):
    folder = Path(request.config.getoption("parity_fixtures"))

    def load(name):
        with np.load(folder / name, allow_pickle=False) as arrays:
            return dict(arrays)

    return load


@pytest.mark.parametrize("case", ["a", "b"])
@pytest.mark.parametrize(("direction", "rank"), [("t2v", rank_videos), ("v2t", rank_texts)])
def test_figures_are_those_of_the_all_in_one_reference(parity, case, direction, rank):
    arrays = parity("fixture-aux.npz")
    r1, r5, r10, r50, median, mean = arrays[f"metrics/{case}/{direction}"]

    ranking = rank(arrays[f"metrics/{case}/sims"])
    found = Recall.of(ranking)

    assert (found.r1, found.r5, found.r10) == pytest.approx((r1, r5, r10))
    assert 100 * (ranking.ranks < 50).mean() == pytest.approx(r50)
    assert (found.median_rank, found.mean_rank) == pytest.approx((median, mean))


@pytest.mark.parametrize("case", ["A", "B"])
def test_figures_are_those_of_the_clover_reference(parity, case):
    arrays = parity("clover-fixture.npz")
    videos, texts = (
        values / np.linalg.norm(values, axis=1, keepdims=True)
        for values in (arrays[f"fn_met{case}_in_v"], arrays[f"fn_met{case}_in_t"])
    )

    found = Recall.of(rank_videos(texts @ videos.T))

    total = found.r1 + found.r5 + found.r10 - found.median_rank
    assert [found.r1, found.r5, found.r10, found.median_rank, total] == pytest.approx(
        arrays[f"fn_met{case}_out"]
    )


def test_figures_of_a_table_counted_by_hand():
    t2v, v2t = rank_videos(SCORES), rank_texts(SCORES)

    assert t2v.ranks.tolist() == [0, 2, 2]
    assert v2t.ranks.tolist() == [0, 1, 1]
    found = Recall.of(t2v).to_json()
    assert found == {
        "R@1": 33.33,
        "R@5": 100.0,
        "R@10": 100.0,
        "MdR": 3.0,
        "MnR": 2.33,
        "nDCG@10": round(100 * (1 + 2 / math.log2(4)) / 3, 2),
    }


def test_texts_need_not_stand_together_nor_be_equally_many():
    scores = np.array(
        [
            [0.1, 0.9, 0.5],  # owned by video 1: first
            [0.4, 0.8, 0.3],  # by video 0: second
            [0.2, 0.7, 0.1],  # by video 1: first
            [0.3, 0.6, 0.2],  # by video 1: first
        ]
    )
    owners = [1, 0, 1, 1]  # video 2 has none

    assert rank_videos(scores, owners).ranks.tolist() == [0, 1, 0, 0]
    assert rank_videos(scores, owners).groups.tolist() == owners
    v2t = rank_texts(scores, owners)
    assert v2t.ranks.tolist() == [0, 0]
    assert v2t.groups.tolist() == [0, 1]
    ideal = sum(1 / math.log2(place + 2) for place in (0, 1, 2))
    found = sum(1 / math.log2(place + 2) for place in (0, 2, 3))
    assert v2t.gains.tolist() == pytest.approx([1, found / ideal])


def test_the_eleventh_counts_for_nothing_in_ndcg():
    scores = np.tile(-np.arange(12.0), (12, 1))  # text i has its video at place i

    gains = rank_videos(scores).gains

    assert gains[9] == pytest.approx(1 / math.log2(11))
    assert gains[10:].tolist() == [0, 0]


def test_equals_come_after_the_right_video_and_share_the_place_of_the_right_text():
    level = np.zeros((4, 4), np.float32)

    assert rank_videos(level).ranks.tolist() == [0, 0, 0, 0]
    assert rank_videos(level).gains.tolist() == [1, 1, 1, 1]
    assert rank_texts(level).ranks.tolist() == [1.5] * 4
    mean = sum(1 / math.log2(place + 2) for place in range(4)) / 4
    assert rank_texts(level).gains.tolist() == pytest.approx([mean] * 4)


def test_equals_across_the_tenth_place_count_in_part():
    scores = np.ones((20, 2))
    scores[9:, 0] = 0  # nine better texts, then eleven equals of which the last is right

    found = rank_texts(scores, [*([1] * 19), 0])

    assert found.ranks[0] == 9 + 5
    assert found.gains[0] == pytest.approx(1 / math.log2(11) / 11)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("rank", [rank_videos, rank_texts])
def test_scores_that_are_no_numbers_are_refused_rather_than_found_perfect(rank, wrong):
    scores = SCORES.copy()
    scores[1, 1] = wrong

    with pytest.raises(ValueError, match="not finite"):
        rank(scores)


@pytest.mark.parametrize(
    ("scores", "owners", "why"),
    [
        (SCORES, [0, 1], "do not fit"),
        (SCORES, [0, 1, 3], "owned by none"),
        (SCORES[:2], None, "share out"),
        (SCORES[:0], None, "no table"),
        (SCORES[0], None, "no table"),
    ],
)
def test_a_table_that_fits_no_owners_is_refused(scores, owners, why):
    with pytest.raises(ValueError, match=why):
        rank_videos(scores, owners)


def test_each_text_follows_the_one_before_by_default():
    assert contiguous_owners(6, 3).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.slow
def test_a_large_gallery_is_ranked_within_bounded_memory():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((30_000, 3_000), dtype=np.float32)
    owners = rng.integers(3_000, size=30_000)
    tracemalloc.start()

    rankings = rank_videos(scores, owners), rank_texts(scores, owners)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 256 * MIB
    assert Recall.of(rankings[0]).mean_rank == pytest.approx(1500.5, rel=0.02)
    assert len(rankings[1].ranks) == len(np.unique(owners))
