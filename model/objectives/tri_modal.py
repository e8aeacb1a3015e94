"""TMA: Clover's tri-modal alignment (arXiv:2207.07885). Shapes: B pairs, E joint space.

An anchor (say, a clip) has several right answers: its text, its text with hidden words, the two
read together. Each of them is found among all that belongs to other anchors; the right answers do
not compete with each other, hence "exclusive".
"""

import torch
from torch import Tensor
from torch.nn import functional

from model.objectives.contrastive import TEMPERATURE
from model.objectives.precision import full, no_autocast

COSINE_EPS = 1e-8


def exclusive_nce(anchor: Tensor, *positives: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return how badly anchors find their right answers and these their anchors, a scalar.

    With S^k the scaled cosines of anchors (rows) and positives k (columns):

        forward  = mean over i of SUM over k of -log( e^S^k_ii / (e^S^k_ii + sum_m,j!=i e^S^m_ij) )
        backward = mean over i of MEAN over k of -log( e^S^k_ii / sum_j e^S^k_ji )

    and the loss is forward + backward: a sum and a mean, as in the published code. With one pair
    it is 0: nothing competes.

    Args:
        anchor: embeddings of any length, (B, E).
        positives: each (B, E), row i belongs to anchor i; Clover has three, two if the masked
            clip is not embedded alone.
        temperature: divides the cosines.

    Raises:
        ValueError: no positives are given.
    """
    if not positives:
        raise ValueError("an anchor needs at least one kind of right answer")
    with no_autocast(anchor):
        rows = unit(anchor)
        scores = torch.stack([rows @ unit(p).T / temperature for p in positives])  # (K, B, B)
        return _find_positives(scores) + _find_anchors(scores)


def unit(embeddings: Tensor) -> Tensor:
    """Return the embeddings with unit norm and in full precision, (B, E)."""
    return functional.normalize(full(embeddings), dim=-1, eps=COSINE_EPS)


def _find_positives(scores: Tensor) -> Tensor:
    """Return the loss of anchors that look for their positives, summed over these."""
    is_own = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
    right = scores.diagonal(dim1=1, dim2=2)  # (K, B)
    others = scores.masked_fill(is_own, float("-inf")).logsumexp(dim=(0, 2))  # (B,)
    return -functional.logsigmoid(right - others).sum(dim=0).mean()


def _find_anchors(scores: Tensor) -> Tensor:
    """Return the loss of positives that look for their anchors, averaged over these."""
    right = scores.diagonal(dim1=1, dim2=2)  # (K, B)
    return (scores.logsumexp(dim=1) - right).mean()
