"""Ranking: among several texts the clip's own scores best. Shapes: B clips, K texts each."""

import torch
from torch import Tensor
from torch.nn import functional

from model.objectives.precision import full


def ranking_loss(scores: Tensor) -> Tensor:
    """Return the softmax cross entropy with the true text first, a scalar.

    Args:
        scores: fused score of each clip with its own text and then with others, (B, K).
    """
    truth = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
    return functional.cross_entropy(full(scores), truth)
