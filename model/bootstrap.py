"""How far a figure may be off by the choice of queries: percentile bootstrap (Efron, 1979).

Shapes: Q queries, G groups, S resamples, F figures.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.metrics import Floats, Ranking, hits_at

RESAMPLES = 1000
COVERAGE = 0.95
FIGURES = ("R@1", "R@5", "R@10", "MdR", "MnR", "nDCG@10")
BLOCK_CELLS = 4_000_000
"""Weights of queries that are held at once."""


@dataclass(frozen=True)
class Interval:
    """Where a figure lies in 95 % of the resamples.

    Attributes:
        low: 2.5th percentile.
        high: 97.5th percentile.
    """

    low: float
    high: float

    def to_json(self) -> list[float]:
        """Return both ends, rounded as figures are."""
        return [round(self.low, 2), round(self.high, 2)]


@dataclass(frozen=True)
class Difference:
    """How much better one ranking of the same queries is than another.

    Attributes:
        by: mean difference of a figure, first less second; of ranks, less is better.
        interval: 95 % interval of it.
        share_above: share of resamples in which it is above 0; a half where it is 0.
    """

    by: float
    interval: Interval
    share_above: float


def intervals(
    ranking: Ranking, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Return the interval of each figure of a ranking.

    Whole groups of queries are drawn with replacement, because the texts of one video succeed
    and fail together: drawn one by one they would make the interval too narrow. Where every
    query was answered alike, the interval is a point, though more queries might show otherwise.

    Args:
        ranking: the answers.
        seed: equal seeds draw equal queries.
        resamples: how often S.
    """
    return _by_name(resample(ranking, seed=seed, resamples=resamples))


def differences(
    first: Ranking, second: Ranking, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Difference]:
    """Compare two rankings of the same queries, figure by figure.

    Both are judged on the same resamples, so what makes a query hard for both cancels out; the
    interval is far narrower than those of the two figures suggest.

    Args:
        first: answers of one model or stream.
        second: those of another to the same queries in the same order.
        seed: equal seeds draw equal queries.
        resamples: how often S.

    Raises:
        ValueError: the queries are not the same.
    """
    if not np.array_equal(first.groups, second.groups):
        raise ValueError("two rankings of different queries cannot be compared one by one")
    drawn = resample(first, seed=seed, resamples=resamples)
    drawn -= resample(second, seed=seed, resamples=resamples)
    by = _all_queries(first) - _all_queries(second)
    above = (drawn > 0).mean(axis=0) + (drawn == 0).mean(axis=0) / 2
    return {
        name: Difference(float(by[i]), interval, float(above[i]))
        for i, (name, interval) in enumerate(_by_name(drawn).items())
    }


def resample(ranking: Ranking, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Return the figures of queries drawn with replacement, (S, F), named by `FIGURES`."""
    _, group_of = np.unique(ranking.groups, return_inverse=True)
    num_groups, num_queries = int(group_of.max()) + 1, len(group_of)
    rng = np.random.default_rng(seed)
    size = max(1, BLOCK_CELLS // num_queries)
    parts = []
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        drawn = rng.integers(num_groups, size=(count, num_groups))
        drawn += num_groups * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * num_groups)
        parts.append(_weighted(ranking, times.reshape(count, num_groups)[:, group_of]))
    return np.concatenate(parts)


def _all_queries(ranking: Ranking) -> Floats:
    """Return the figures of every query once, (F,)."""
    figures: Floats = _weighted(ranking, np.ones((1, len(ranking.ranks)), np.int64))[0]
    return figures


def _weighted(ranking: Ranking, weights: NDArray[np.int64]) -> Floats:
    """Return the figures where each query counts so many times, (S, F).

    Args:
        ranking: the answers.
        weights: whole numbers, (S, Q).
    """
    ranks = ranking.ranks
    values = np.stack(
        [*(100.0 * hits_at(ranks, k) for k in (1, 5, 10)), ranks + 1, 100 * ranking.gains], axis=1
    )  # (Q, F - 1)
    means = weights @ values / weights.sum(axis=1, keepdims=True)  # (S, F - 1)
    return np.insert(means, 3, _weighted_median(ranks, weights) + 1, axis=1)


def _weighted_median(ranks: Floats, weights: NDArray[np.int64]) -> Floats:
    """Return the median where each rank counts so many times, (S,)."""
    order = np.argsort(ranks)
    reached = weights[:, order].cumsum(axis=1)  # (S, Q)
    total = reached[:, -1:]
    places = [(reached > middle).argmax(axis=1) for middle in ((total - 1) // 2, total // 2)]
    median: Floats = (ranks[order][places[0]] + ranks[order][places[1]]) / 2
    return median


def _by_name(drawn: Floats) -> dict[str, Interval]:
    tail = 100 * (1 - COVERAGE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    return {name: Interval(float(low[i]), float(high[i])) for i, name in enumerate(FIGURES)}
