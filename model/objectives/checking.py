"""Checking: which of the facts that a text tells are true of a clip. Shapes: B pairs, F facts.

The matching objective says only that something is wrong; this says what. Like naming, it guides
training on data whose facts are known, and its layer is thrown away.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.objectives.naming import UNKNOWN


class Checker(nn.Module):
    """Scores every fact of a pair: told rightly or wrongly.

    Args:
        width: of the pooled features C.
        num_facts: F.
    """

    def __init__(self, *, width: int, num_facts: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, num_facts)

    def forward(self, pooled: Tensor, told: Tensor, shown: Tensor) -> Tensor:
        """Return the mean binary cross entropy over the facts that are told, a scalar.

        Args:
            pooled: of the fused pass, (B, C).
            told: class of each fact as the text tells it, -100 where it does not, int64 (B, F).
            shown: class of each fact of the clip, int64 (B, F).
        """
        scores = self.score(pooled).float()  # (B, F)
        is_told = told != UNKNOWN
        is_right = (told == shown).to(scores.dtype)
        losses = functional.binary_cross_entropy_with_logits(scores, is_right, reduction="none")
        return torch.where(is_told, losses, 0).sum() / is_told.sum().clamp(min=1)
