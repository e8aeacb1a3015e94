"""Where the right answers of a search stand: ranks, and what papers make of them.

Shapes: N texts, M videos, Q queries. Each text belongs to one video, its owner; a video may own
several texts (MSVD) or none. Ranks count from 0 here and from 1 in MdR and MnR.

Ties are counted as the field does (the published evaluation of All-in-One): from text to video
the right one comes first among its equals, from video to text equals share their mean rank.
A model whose scores are all alike would thus be perfect from text to video, so a model in doubt
is judged by both directions.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CUTOFF = 10
"""The K of nDCG@K."""
BLOCK_CELLS = 8_000_000
"""Scores that are compared at once: bounds memory, whatever the gallery."""


@dataclass(frozen=True)
class Ranking:
    """How a list of queries was answered.

    Attributes:
        ranks: place of the first right answer, from 0, a half where equals share it, (Q,).
        gains: nDCG@10 of each query in [0, 1]; every right answer counts alike, (Q,).
        groups: queries of one group belong together and are drawn together in resampling, (Q,).
    """

    ranks: Floats
    gains: Floats
    groups: Ints

    def __post_init__(self) -> None:
        """Refuse what says nothing."""
        if not len(self.ranks) == len(self.gains) == len(self.groups) > 0:
            raise ValueError(
                f"{len(self.ranks)} ranks, {len(self.gains)} gains and {len(self.groups)} groups "
                "are no ranking"
            )


@dataclass(frozen=True, kw_only=True)
class Recall:
    """What papers print of a ranking.

    Attributes:
        r1: share of queries, percent, whose first right answer is the first of all.
        r5: the same for the first five.
        r10: the same for the first ten.
        median_rank: median place of the first right answer, from 1.
        mean_rank: mean of it.
        ndcg10: mean nDCG@10, percent.
    """

    r1: float
    r5: float
    r10: float
    median_rank: float
    mean_rank: float
    ndcg10: float

    @classmethod
    def of(cls, ranking: Ranking) -> Self:
        """Sum up a ranking."""
        ranks = ranking.ranks
        return cls(
            r1=recall_at(ranks, 1),
            r5=recall_at(ranks, 5),
            r10=recall_at(ranks, 10),
            median_rank=float(np.median(ranks)) + 1,
            mean_rank=float(ranks.mean()) + 1,
            ndcg10=100 * float(ranking.gains.mean()),
        )

    def to_json(self) -> dict[str, float]:
        """Return the names that papers use."""
        values = {
            "R@1": self.r1,
            "R@5": self.r5,
            "R@10": self.r10,
            "MdR": self.median_rank,
            "MnR": self.mean_rank,
            "nDCG@10": self.ndcg10,
        }
        return {name: round(value, 2) for name, value in values.items()}


def hits_at(ranks: Floats, k: int) -> NDArray[np.bool_]:
    """Tell which queries have a right answer among the first `k`, (Q,).

    Ties can make a rank a fraction; R@1 then asks for 0 itself, as the published figures do.
    """
    return ranks == 0 if k == 1 else ranks < k


def recall_at(ranks: Floats, k: int) -> float:
    """Return R@K, percent."""
    return 100 * float(hits_at(ranks, k).mean())


def contiguous_owners(num_texts: int, num_videos: int) -> Ints:
    """Return the owner of each text, (N,), where those of a video stand together.

    Raises:
        ValueError: the texts do not share out evenly.
    """
    if num_videos < 1 or num_texts < 1 or num_texts % num_videos:
        raise ValueError(f"{num_texts} texts do not share out evenly over {num_videos} videos")
    return np.arange(num_texts) // (num_texts // num_videos)


def rank_videos(
    scores: NDArray[np.floating],
    owners: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
) -> Ranking:
    """Rank the videos for every text (t2v); equals of the right video come after it.

    Args:
        scores: rows are texts, (N, M).
        owners: index of the video of each text, (N,); by default N / M texts each, in order.
        groups: which videos are drawn together in resampling, (M,); by default each is alone.

    Returns:
        one query per text; texts of one video are one group.

    Raises:
        ValueError: shapes do not fit, or a score is not finite.
    """
    owners = _checked_owners(scores, owners)
    ranks = np.empty(len(scores))
    for rows in _blocks(*scores.shape):
        block = _finite(scores[rows])
        truth = np.take_along_axis(block, owners[rows, None], axis=1)
        ranks[rows] = np.count_nonzero(block > truth, axis=1)
    gains = np.where(ranks < CUTOFF, _discount(ranks), 0.0)
    return Ranking(ranks, gains, _checked_groups(groups, scores.shape[1])[owners])


def rank_texts(
    scores: NDArray[np.floating],
    owners: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
) -> Ranking:
    """Rank the texts for every video that owns one (v2t); equals share their mean rank.

    The rank of a video is that of its best text, as in the published evaluations. All its texts
    count in nDCG; the places of equals are averaged (McSherry and Najork, ECIR 2008).

    Args:
        scores: rows are texts, (N, M).
        owners: index of the video of each text, (N,); by default N / M texts each, in order.
        groups: which videos are drawn together in resampling, (M,); by default each is alone.

    Returns:
        one query per video that owns a text, in the order of videos.

    Raises:
        ValueError: shapes do not fit, or a score is not finite.
    """
    owners = _checked_owners(scores, owners)
    asked, counts = np.unique(owners, return_counts=True)
    texts_of = np.split(np.argsort(owners, kind="stable"), np.cumsum(counts)[:-1])
    answers = [
        _answer(_finite(np.ascontiguousarray(scores[:, video])), texts)
        for video, texts in zip(asked, texts_of, strict=True)
    ]
    ranks, gains = np.array(answers).T
    return Ranking(ranks, gains, _checked_groups(groups, scores.shape[1])[asked])


def _answer(column: NDArray[np.floating], texts: Ints) -> tuple[float, float]:
    """Return rank and nDCG@10 of one video.

    Args:
        column: score of every text for the video, (N,).
        texts: which of them are its own, (R,).
    """
    ahead, level = _places(column, column[texts])
    gain = sum(_mean_discount(first, count) for first, count in zip(ahead, level, strict=True))
    ideal = _discount(np.arange(min(len(texts), CUTOFF))).sum()
    return float((ahead + (level - 1) / 2).min()), float(gain / ideal)


def _places(column: NDArray[np.floating], values: NDArray[np.floating]) -> tuple[Ints, Ints]:
    """Return how many texts beat each value, and how many equal it, itself included, 2 x (R,)."""
    ahead, level = np.empty((2, len(values)), np.int64)
    for rows in _blocks(len(values), len(column)):
        ahead[rows] = np.count_nonzero(column > values[rows, None], axis=1)
        level[rows] = np.count_nonzero(column == values[rows, None], axis=1)
    return ahead, level


def _discount(places: NDArray[np.floating] | Ints) -> Floats:
    """Return what a right answer counts at places from 0 on."""
    counted: Floats = 1 / np.log2(np.asarray(places, np.float64) + 2)
    return counted


def _mean_discount(first: int, count: int) -> float:
    """Return the mean of what `count` equal answers count from place `first` on."""
    return float(_discount(np.arange(first, min(first + count, CUTOFF))).sum()) / count


def _blocks(num_rows: int, num_columns: int) -> list[slice]:
    """Cut rows into blocks that fit into memory."""
    size = max(1, BLOCK_CELLS // max(1, num_columns))
    return [slice(start, start + size) for start in range(0, num_rows, size)]


def _finite(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """Refuse scores that compare with nothing: the right answer would seem unbeaten."""
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite: the model gave NaN or infinity")
    return scores


def _checked_owners(scores: NDArray[np.floating], owners: ArrayLike | None) -> Ints:
    if scores.ndim != 2 or not scores.size:  # noqa: PLR2004 (texts x videos)
        raise ValueError(f"scores of shape {scores.shape} are no table of texts x videos")
    num_texts, num_videos = scores.shape
    if owners is None:
        return contiguous_owners(num_texts, num_videos)
    found = np.asarray(owners, np.int64)
    if found.shape != (num_texts,):
        raise ValueError(f"{found.shape} owners do not fit {num_texts} texts")
    if found.min() < 0 or found.max() >= num_videos:
        raise ValueError(f"a text is owned by none of the {num_videos} videos")
    return found


def _checked_groups(groups: ArrayLike | None, num_videos: int) -> Ints:
    found = np.arange(num_videos) if groups is None else np.asarray(groups, np.int64)
    if found.shape != (num_videos,):
        raise ValueError(f"{found.shape} groups do not fit {num_videos} videos")
    return found
