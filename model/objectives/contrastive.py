"""VTC: a text and its clip are the closest of the batch. Shapes: B pairs, E joint space."""

import torch
from torch import Tensor
from torch.nn import functional

TEMPERATURE = 0.05
"""The constant of All-in-One; it learns none."""


def contrastive_loss(texts: Tensor, videos: Tensor, *, temperature: float = TEMPERATURE) -> Tensor:
    """Return the loss of text to video plus that of video to text, a scalar.

    All-in-One adds the two directions and does not halve them.

    Args:
        texts: unit-norm embeddings, (B, E).
        videos: unit-norm embeddings, row i belongs to text i, (B, E).
        temperature: divides the similarities.
    """
    logits = texts @ videos.T / temperature  # (B, B)
    pairs = torch.arange(len(logits), device=logits.device)
    return functional.cross_entropy(logits, pairs) + functional.cross_entropy(logits.T, pairs)


def group_contrastive_loss(
    texts: Tensor, videos: Tensor, groups: Tensor, *, temperature: float
) -> Tensor:
    """Return the contrastive loss with the pairs of the same group as the only negatives.

    Args:
        texts: unit-norm embeddings, (B, E).
        videos: row i belongs to text i, (B, E).
        groups: int64 (B,).
        temperature: divides the similarities.
    """
    logits = texts @ videos.T / temperature  # (B, B)
    logits = logits.masked_fill(groups[:, None] != groups, float("-inf"))
    pairs = torch.arange(len(logits), device=logits.device)
    to_video = functional.cross_entropy(logits, pairs)
    return to_video + functional.cross_entropy(logits.T, pairs)
