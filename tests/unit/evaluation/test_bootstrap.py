"""Intervals: right in the mean, as wide as theory says, narrower for differences."""

import math

import numpy as np
import pytest

from model.bootstrap import FIGURES, differences, intervals, resample
from model.metrics import Ranking, Recall, rank_videos


def ranking(ranks, groups=None):
    ranks = np.asarray(ranks, np.float64)
    gains = np.where(ranks < 10, 1 / np.log2(ranks + 2), 0)
    return Ranking(ranks, gains, np.arange(len(ranks)) if groups is None else np.asarray(groups))


def test_intervals_of_shares_are_those_of_the_binomial_distribution():
    found = intervals(ranking([0] * 300 + [20] * 700))["R@1"]

    error = 1.96 * math.sqrt(0.3 * 0.7 / 1000) * 100
    assert (found.low, found.high) == pytest.approx((30 - error, 30 + error), abs=0.5)


def test_each_interval_holds_its_figure_and_the_names_are_those_of_recall():
    rng = np.random.default_rng(3)
    measured = ranking(rng.integers(40, size=200))

    found = intervals(measured)

    figures = Recall.of(measured).to_json()
    assert list(found) == list(figures) == list(FIGURES)
    for name, interval in found.items():
        assert interval.low <= figures[name] <= interval.high
        assert interval.low < interval.high


def test_a_seed_decides_what_is_drawn():
    measured = ranking(np.arange(50))

    assert intervals(measured, seed=1) == intervals(measured, seed=1)
    assert intervals(measured, seed=1) != intervals(measured, seed=2)


def test_the_median_of_a_resample_is_that_of_the_queries_drawn():
    ranks = np.array([4.0, 0.0, 7.5, 2.0, 9.0])
    rng = np.random.default_rng(11)
    drawn = ranks[rng.integers(5, size=(200, 5))]

    found = resample(ranking(ranks), seed=11, resamples=200)

    assert found[:, FIGURES.index("MdR")].tolist() == (np.median(drawn, axis=1) + 1).tolist()
    assert found[:, FIGURES.index("MnR")] == pytest.approx(drawn.mean(axis=1) + 1)


def test_texts_that_fail_together_make_the_interval_wider():
    hits = np.random.default_rng(5).integers(2, size=50).repeat(20) * 30.0
    apart = intervals(ranking(hits))["R@1"]

    together = intervals(ranking(hits, np.arange(50).repeat(20)))["R@1"]

    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_many_queries_are_resampled_in_blocks_with_the_same_draws(monkeypatch):
    measured = ranking(np.random.default_rng(1).integers(30, size=100))
    whole = intervals(measured)

    monkeypatch.setattr("model.bootstrap.BLOCK_CELLS", 700)

    assert intervals(measured) == whole


def test_a_difference_is_certain_where_two_rankings_hardly_differ_from_query_to_query():
    ranks = np.random.default_rng(7).integers(2, size=400) * 20.0
    better = ranks.copy()
    better[np.flatnonzero(ranks)[:12]] = 0  # twelve more of 400 are found first

    found = differences(ranking(better), ranking(ranks))["R@1"]

    alone = intervals(ranking(better))["R@1"]
    assert found.by == pytest.approx(3.0)
    assert 0 < found.interval.low < 3 < found.interval.high
    assert found.share_above == 1
    assert found.interval.high - found.interval.low < (alone.high - alone.low) / 2


def test_equal_rankings_do_not_differ():
    same = ranking(np.arange(20))

    found = differences(same, same)

    assert {(one.by, one.interval.low, one.interval.high) for one in found.values()} == {(0, 0, 0)}
    assert {one.share_above for one in found.values()} == {0.5}


def test_rankings_of_different_queries_are_not_compared():
    with pytest.raises(ValueError, match="different queries"):
        differences(ranking([0, 1]), ranking([0, 1, 2]))


def test_families_are_drawn_together():
    scores = np.eye(8)

    found = rank_videos(scores, groups=np.arange(8) // 4)

    assert found.groups.tolist() == [0] * 4 + [1] * 4
