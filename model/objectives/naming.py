"""Naming: what a clip shows, or a text tells, by one linear layer on the joint space.

A guide for training on data whose facts are known; the layer is thrown away. Shapes: B items, F
facts, E joint space.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

UNKNOWN = -100
"""Class of a fact that a clip has not, or a text does not tell."""
SCALE = 10.0
"""Of embeddings, so that their unit norm does not hold the scores down."""


class Namer(nn.Module):
    """Scores the classes of several facts.

    Args:
        width: of the joint space E.
        num_classes: of each fact.
        weights: of each fact.
    """

    def __init__(self, *, width: int, num_classes: Sequence[int], weights: Sequence[float]) -> None:
        super().__init__()
        self.num_classes = list(num_classes)
        self.weights = list(weights)
        self.score = nn.Linear(width, sum(num_classes))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted sum over facts of their cross entropies, a scalar.

        Args:
            embeddings: unit-norm, (B, E).
            labels: class of each fact, -100 where it is unknown, int64 (B, F).
        """
        parts = self.score(SCALE * embeddings).float().split(self.num_classes, dim=1)
        losses = [
            weight
            * functional.cross_entropy(scores, label, ignore_index=UNKNOWN, reduction="sum")
            / (label != UNKNOWN).sum().clamp(min=1)
            for weight, scores, label in zip(self.weights, parts, labels.unbind(dim=1), strict=True)
        ]
        return torch.stack(losses).sum()
