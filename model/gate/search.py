"""Search segments as the service does: the best by similarity, re-ranked by the fused pass.

Shapes: N texts, M segments, K candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.calibration import Flags, Judged, best_first
from model.measure import RERANK_DEPTH, Clips, Progress, Scores, match_pairs, similarities
from model.metrics import CUTOFF, Floats, Ints, Ranking
from model.retrieval import RetrievalModel


@dataclass(frozen=True)
class Answers:
    """How a model answered texts from a gallery of segments.

    Attributes:
        dual_stream: by similarity.
        reranked: its best re-ranked by the fused pass; None without a matcher.
        judged: what probabilities are fitted on; None if it was not asked for.
    """

    dual_stream: Ranking
    reranked: Ranking | None
    judged: Judged | None


def ask(
    model: RetrievalModel,
    clips: Clips,
    *,
    texts: Sequence[str],
    is_right: Flags,
    is_own: Flags,
    groups: Ints,
    progress: Progress,
    is_judged: bool = False,
) -> Answers:
    """Search segments for every text, each of which has at least one right answer.

    Args:
        model: needs a joint space.
        clips: of the segments, M.
        texts: N.
        is_right: which segments answer which text, (N, M).
        is_own: which segments are of the text's own video, (N, M).
        groups: of the texts, (N,).
        progress: told how far it is.
        is_judged: find out as well what each text finds if its own video is left out.
    """
    tokens = model.tokenize(texts)
    similarity = similarities(model, tokens, clips, progress)
    dual_stream = rank_first(similarity, is_right, groups)
    if not model.spec.has_matcher:
        return Answers(dual_stream, None, None)
    best = _best(similarity)
    others = _best(np.where(is_own, -np.inf, similarity)) if is_judged else best
    pairs = np.unique(np.concatenate((_numbers(best, len(clips)), _numbers(others, len(clips)))))
    log_odds = np.full(similarity.shape, np.nan, np.float32)  # NaN: no candidate
    log_odds.ravel()[pairs] = match_pairs(model, tokens, clips, pairs, progress)
    scores = model.spec.rerank_score(
        similarity=torch.from_numpy(similarity), log_odds=torch.from_numpy(log_odds)
    ).numpy()
    reranked = rank_first(_lifted(similarity, scores, best), is_right, groups)
    if not is_judged:
        return Answers(dual_stream, reranked, None)
    judged = _judge(scores, log_odds, best=best, others=others, is_right=is_right, is_own=is_own)
    return Answers(dual_stream, reranked, Judged(*judged, groups))


def rank_first(scores: Scores, is_right: Flags, groups: Ints) -> Ranking:
    """Rank segments for every text; of equals, right ones come first.

    Args:
        scores: (N, M).
        is_right: (N, M), at least one of each row.
        groups: (N,).

    Raises:
        ValueError: a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite: the model gave NaN or infinity")
    order = np.lexsort((~is_right, -scores), axis=1)  # by score, then right ones first
    placed = np.take_along_axis(is_right, order, axis=1)
    discounts = 1 / np.log2(np.arange(min(CUTOFF, scores.shape[1])) + 2)
    totals = np.concatenate(([0.0], discounts.cumsum()))
    ideal = totals[np.minimum(is_right.sum(axis=1), len(discounts))]
    gains = placed[:, : len(discounts)] @ discounts / ideal
    return Ranking(placed.argmax(axis=1).astype(np.float64), gains, groups)


def _judge(
    scores: Scores,
    log_odds: Scores,
    *,
    best: Ints,
    others: Ints,
    is_right: Flags,
    is_own: Flags,
) -> tuple[Floats, Floats, NDArray[np.bool_], Floats]:
    taken = [np.take_along_axis(table, best, axis=1) for table in (scores, log_odds, is_right)]
    found, odds, right = best_first(taken[0].astype(np.float64), *taken[1:])
    of_others = np.take_along_axis(scores, others, axis=1).astype(np.float64)
    of_others[np.take_along_axis(is_own, others, axis=1)] = -np.inf  # fewer than K others
    without = of_others.max(axis=1)
    without[np.isneginf(without)] = np.nan
    return found, odds.astype(np.float64), right, without


def _best(similarity: Scores) -> Ints:
    """Return the candidates of each text, best first, (N, K)."""
    found: Ints = (
        torch.from_numpy(similarity)
        .topk(min(RERANK_DEPTH, similarity.shape[1]), dim=1)
        .indices.numpy()
    )
    return found


def _numbers(candidates: Ints, num_segments: int) -> Ints:
    """Return the number of each pair, text x M + segment."""
    return (np.arange(len(candidates))[:, None] * num_segments + candidates).ravel()


def _lifted(similarity: Scores, scores: Scores, best: Ints) -> Scores:
    """Return scores by which the candidates come before all others, in their new order, (N, M)."""
    lifted = similarity.astype(np.float64)
    chosen = np.take_along_axis(scores, best, axis=1).astype(np.float64)
    np.put_along_axis(lifted, best, chosen - chosen.min() + lifted.max() + 1, axis=1)
    return lifted
