"""WPA: words and patches of a true pair are cheap to transport onto each other.

Optimal transport between words and patches, solved by IPOT (arXiv:1802.04307) as UNITER
(arXiv:1909.11740) uses it. Shapes: B pairs, L words, P patches, C width.
"""

import torch
from torch import Tensor
from torch.nn import functional

from model.objectives.precision import full, no_autocast

WEIGHT = 0.1
COSINE_EPS = 1e-5
BETA = 0.5
ITERATIONS = 50


def alignment_loss(
    words: Tensor, patches: Tensor, *, is_word: Tensor, is_patch: Tensor, labels: Tensor
) -> Tensor:
    """Return the weighted transport cost of matched less that of unmatched pairs, a scalar.

    Args:
        words: text features of the fused pass, (B, L, C).
        patches: image features of the fused pass, (B, P, C).
        is_word: False for special tokens and padding, bool (B, L).
        is_patch: False for special tokens, bool (B, P).
        labels: 1 for matched pairs, else 0, int (B,).
    """
    words = functional.normalize(full(words), dim=-1, eps=COSINE_EPS)
    patches = functional.normalize(full(patches), dim=-1, eps=COSINE_EPS)
    with no_autocast(words):
        cost = 1 - words @ patches.transpose(1, 2)  # (B, L, P)
        is_cell = is_word[:, :, None] & is_patch[:, None]  # (B, L, P)
        cost = cost.masked_fill(~is_cell, 0)
        plan = transport_plan(cost.detach(), is_word=is_word, is_patch=is_patch)
        distance = (cost * plan).sum(dim=(1, 2))  # (B,)
    sign = labels.to(distance.dtype) * 2 - 1
    return WEIGHT * (sign * distance).sum() / len(distance)


@torch.no_grad()
def transport_plan(cost: Tensor, *, is_word: Tensor, is_patch: Tensor) -> Tensor:
    """Return the plan that moves uniform mass from words to patches, (B, L, P).

    Args:
        cost: of moving a word's mass to a patch, (B, L, P).
        is_word: rows that hold mass, bool (B, L).
        is_patch: columns that receive mass, bool (B, P).
    """
    is_cell = is_word[:, :, None] & is_patch[:, None]
    kernel = torch.exp(-cost / BETA) * is_cell  # (B, L, P)
    num_words = is_word.sum(dim=1, keepdim=True).clamp(min=1)
    num_patches = is_patch.sum(dim=1, keepdim=True).clamp(min=1)
    plan = is_cell.to(cost.dtype)
    row_scale = is_word / num_words  # (B, L)
    for _ in range(ITERATIONS):
        step = kernel * plan
        reached = num_patches * torch.einsum("blp,bl->bp", step, row_scale)
        column_scale = _inverse(reached, is_patch)  # (B, P)
        left = num_words * torch.einsum("blp,bp->bl", step, column_scale)
        row_scale = _inverse(left, is_word)
        plan = row_scale[:, :, None] * step * column_scale[:, None]
    return plan


def _inverse(values: Tensor, is_real: Tensor) -> Tensor:
    """Return 1 / values where they are real, else 0."""
    return torch.where(is_real & (values > 0), 1 / values, torch.zeros_like(values))
